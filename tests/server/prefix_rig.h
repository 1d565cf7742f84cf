#ifndef CHELA_TESTS_SERVER_PREFIX_RIG_H_
#define CHELA_TESTS_SERVER_PREFIX_RIG_H_

#include <cstdint>
#include <vector>

#include "tests/server/engine_rig.h"

namespace chela::test_support {

// A prefix cache of so many bytes drops nothing that a test puts there.
inline constexpr int64_t kAmpleCache = 64 << 20;

// What a client sees, down to the bits of the 20 highest logits of each token.
struct PrefixAnswer {
  std::vector<SampledToken> sampled;
  GenerationEnd end;
  int64_t cached() const { return end.usage.cached_prompt_tokens; }
};
void ExpectSameBits(const PrefixAnswer& got, const PrefixAnswer& want);

// Five tokens after this prompt, with their 20 highest logits.
GenerateJob JobOf(Tokens prompt, uint32_t seed = 7);
PrefixAnswer RunToEnd(Rig& rig, GenerateJob job);

// `shared` tokens that depend on it alone, then others, that depend on `tail`.
Tokens PromptOf(int32_t shared, int32_t size, uint32_t tail);

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SERVER_PREFIX_RIG_H_
