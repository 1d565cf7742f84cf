#ifndef CHELA_SERVER_SESSION_SNAPSHOT_H_
#define CHELA_SERVER_SESSION_SNAPSHOT_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/sequence_state.h"
#include "server/session/snapshot_model.h"

namespace chela {

// A SequenceState as bytes that outlive the process and may travel:
// docs/snapshot-format.md has them one by one. Decode gives back the state that
// Encode was given, bit for bit, NaN and infinity included: a snapshot is a
// copy, it judges no value of a tensor.
//
// Threads: thread-safe, without shared state.

// Whether `state` can be one of `model`: sizes, token ids, counts, lengths of
// texts. INVALID_ARGUMENT with what was found and what was wanted. What passes
// here can be encoded and decoded.
absl::Status CheckSequenceState(const SequenceState& state,
                                const SnapshotModel& model);

// INVALID_ARGUMENT as above; RESOURCE_EXHAUSTED without memory.
absl::StatusOr<std::string> EncodeSnapshot(const SequenceState& state,
                                           const SnapshotModel& model);

// Bytes from anywhere, trusted in nothing: memory is taken only for what a
// state of this model has, and there is a whole state or none.
//   DATA_LOSS            damaged, truncated, too long, or no state
//   FAILED_PRECONDITION  another version, another model, another layout of the
//                        state: names what it is and what is wanted
//   RESOURCE_EXHAUSTED   no memory
// A checksum finds damage. It is no signature: who can write a snapshot can
// write any state.
absl::StatusOr<SequenceStatePtr> DecodeSnapshot(std::string_view bytes,
                                                const SnapshotModel& model);

// What the first kMaxSnapshotHeadBytes of a snapshot, or all of it, say before
// the rest is there: errors as above, OK if it may be one of this model.
absl::Status CheckSnapshotBeginning(std::string_view bytes,
                                    const SnapshotModel& model);

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_SNAPSHOT_H_
