#ifndef CHELA_TESTS_SERVER_TURN_RIG_H_
#define CHELA_TESTS_SERVER_TURN_RIG_H_

#include <string>
#include <vector>

#include "tests/server/engine_rig.h"

namespace chela::test_support {

// What a turn gave.
struct TurnAnswer {
  std::string text;
  Tokens tokens;
  std::vector<SampledToken> prompt;
  GenerationEnd end;
  SequenceStatePtr state;
};

// Sampling with everything that looks back, so far or (0) to the start.
SamplingParams LookingBack(int32_t window);
SamplingParams Greedy();
// A turn whose state is kept; EOS is ignored.
GenerateJob TurnJob(SequenceStatePtr start, Tokens prompt, int32_t max_tokens,
                    const SamplingParams& sampling);

// A job of one choice from Submit to its end.
TurnAnswer RunTurn(Rig& rig, GenerateJob job);

// Bit for bit, all that a later turn depends on.
void ExpectSameState(const SequenceState& got, const SequenceState& want);
// The same of a text that was read in other pieces: on a GPU its floats are
// within kOtherPieces, relative L2, since each side may be 1e-5 off the
// definition.
inline constexpr double kOtherPieces = 2e-5;
void ExpectSameText(const SequenceState& got, const SequenceState& want);

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SERVER_TURN_RIG_H_
