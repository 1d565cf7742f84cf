#ifndef CHELA_SERVER_SESSION_SESSION_RECORD_H_
#define CHELA_SERVER_SESSION_SESSION_RECORD_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace chela {

// A state that a session keeps, without its tensors.
struct KeptState {
  int64_t key = 0;     // of its snapshot, never used twice in a session;
                       // 0: the empty session, which has no snapshot
  int64_t tokens = 0;  // SequenceState::tokens()
  uint64_t token_hash = 0;
  int64_t bytes = 0;  // of the snapshot; without a store, in memory
  bool operator==(const KeptState&) const = default;
};

// What is known of a session without reading a tensor: its manifest in a store.
struct SessionRecord {
  struct Revision {
    int64_t number = 0;
    KeptState state;
    bool operator==(const Revision&) const = default;
  };

  std::string id;
  std::string user;
  int64_t ttl_seconds = 0;  // idle time; 0: never expires
  int64_t created_ms = 0;   // since the epoch, by the system's clock
  int64_t used_ms = 0;
  int64_t next_revision = 1;
  int64_t next_key = 1;
  std::vector<Revision> revisions;  // newest first: one or two
  std::map<std::string, KeptState> checkpoints;
  bool operator==(const SessionRecord&) const = default;

  const Revision& newest() const { return revisions.front(); }
  // The keys of all snapshots that the session keeps.
  std::set<int64_t> Keys() const;
  std::string ToJson() const;
};

inline constexpr size_t kMaxKeptRevisions = 2;
inline constexpr size_t kMaxCheckpoints = 16;
inline constexpr size_t kMaxUserBytes = 256;
inline constexpr int64_t kMaxTtlSeconds = int64_t{10} * 365 * 24 * 3600;

// The record in what ToJson wrote. DATA_LOSS if it is not one, of `id`.
absl::StatusOr<SessionRecord> ParseSessionRecord(std::string_view json,
                                                 std::string_view id);

// Names of sessions and checkpoints: 1 to 64 of [A-Za-z0-9._-].
// INVALID_ARGUMENT begins with `what`.
absl::Status CheckName(std::string_view what, std::string_view name);

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_SESSION_RECORD_H_
