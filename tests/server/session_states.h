#ifndef CHELA_TESTS_SERVER_SESSION_STATES_H_
#define CHELA_TESTS_SERVER_SESSION_STATES_H_

#include <cstdint>
#include <string>

#include "gmock/gmock.h"
#include "server/engine/sequence_state.h"
#include "server/session/snapshot_model.h"

namespace chela::test_support {

// A model whose state has a few hundred bytes.
SnapshotModel SmallSnapshotModel();

// One whose states have some 200 KB, so that storing one takes a while.
SnapshotModel CrashModel();

// A state of `model` with random values everywhere, as a real one could have
// them: a pending token or none, counts, recent tokens, ends of texts. The
// same for the same seed.
SequenceState RandomState(const SnapshotModel& model, uint64_t seed);
SequenceStatePtr RandomStatePtr(const SnapshotModel& model, uint64_t seed);

// The snapshot of a state; a failure and "" if there is none.
std::string Encoded(const SequenceState& state, const SnapshotModel& model);

// Whether every field is the same, floats by their bits.
bool SameState(const SequenceState& a, const SequenceState& b);

MATCHER_P(IsState, want, "is bit for bit the wanted state") {
  if (arg != nullptr && want != nullptr) return SameState(*arg, *want);
  return arg == want;
}

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SERVER_SESSION_STATES_H_
