#ifndef CHELA_SERVER_SESSION_SNAPSHOT_STORE_H_
#define CHELA_SERVER_SESSION_SNAPSHOT_STORE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/session/session_record.h"

namespace chela {

// A snapshot that is to be kept.
struct NewSnapshot {
  int64_t key = 0;
  std::string bytes;
};

// Where sessions outlive the process. One process at a time uses a store.
//
// A session is a record and the snapshots that it names. Write is the moment
// at which something is kept: OK means that a crash of the process or, as far
// as the medium promises it, of the machine right after loses none of it. A
// session is always whole: its newest record and every snapshot that it names.
//
// Errors: RESOURCE_EXHAUSTED if the medium is full, UNAVAILABLE if it can't be
// reached or fails; then a Write may have happened or not, as a whole.
//
// Threads: thread-safe for different sessions; one caller at a time for each.
class SnapshotStore {
 public:
  virtual ~SnapshotStore() = default;

  // For people: "folder /var/lib/chela", "redis 127.0.0.1:6379".
  virtual std::string Name() const = 0;

  struct Contents {
    std::vector<SessionRecord> sessions;
    // Sessions that are there but can't be read: id and why.
    std::vector<std::pair<std::string, absl::Status>> damaged;
  };
  // Everything that is stored, tensors left out. Removes what a crash left
  // behind: snapshots that no record names. Called once, before the others.
  virtual absl::StatusOr<Contents> Load() = 0;

  // Stores `snapshot`, if any, then makes `record` the session's, at once.
  virtual absl::Status Write(const SessionRecord& record,
                             const NewSnapshot* snapshot) = 0;
  // A snapshot's bytes. NOT_FOUND if there is none, DATA_LOSS if it has not the
  // size that the record says.
  virtual absl::StatusOr<std::string> Read(const std::string& id,
                                           const KeptState& state) = 0;
  // Removes snapshots that the session's record no longer names.
  virtual absl::Status Drop(const std::string& id,
                            const std::vector<int64_t>& keys) = 0;
  // Removes the session with everything; OK if there is none.
  virtual absl::Status Delete(const std::string& id) = 0;
};

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_SNAPSHOT_STORE_H_
