#ifndef CHELA_SERVER_SESSION_SESSION_REGISTRY_H_
#define CHELA_SERVER_SESSION_SESSION_REGISTRY_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/sequence_state.h"
#include "server/metrics/metrics.h"
#include "server/session/snapshot_model.h"
#include "server/session/snapshot_store.h"

namespace chela {

struct RegistryOptions {
  SnapshotModel model;
  // States kept in memory. With a store it is a cache: the least recently used
  // are dropped and read again when they are needed. Without one it is a limit.
  int64_t memory_bytes = int64_t{1} << 30;
  std::chrono::seconds default_ttl = std::chrono::hours(1);  // 0: never
  int64_t max_sessions = 65536;
  int64_t max_sessions_per_user = 0;  // 0: as many as there may be
  // SessionInfo::state_bytes of all of a user's sessions; 0: no limit. A turn
  // that runs counts with the largest state that it may end with, so that none
  // fails at its end; forks count whole, also while they share their memory.
  int64_t max_bytes_per_user = 0;
  // How often expired sessions are removed, by a thread of the registry's; 0:
  // never. They are not found from the moment they expire.
  std::chrono::milliseconds sweep_interval = std::chrono::seconds(10);
  // The time that records and answers name.
  std::function<std::chrono::system_clock::time_point()> now = [] {
    return std::chrono::system_clock::now();
  };
  // Idle time is measured by this one, so that a system clock that is set does
  // not end sessions; only what passed between two processes is taken from it.
  std::function<std::chrono::steady_clock::time_point()> steady_now = [] {
    return std::chrono::steady_clock::now();
  };
};

struct SessionOptions {
  std::string id;  // 1..64 of [A-Za-z0-9._-]; empty: 128 random bits, in hex
  std::string user;
  std::optional<std::chrono::seconds> ttl;  // none: the default; 0: never
};

struct SessionInfo {
  std::string id;
  std::string user;
  int64_t tokens = 0;              // of the newest revision
  int64_t revision = 0;            // the newest; 0: nothing yet
  std::vector<int64_t> revisions;  // that can be gone back to, newest first
  std::vector<std::string> checkpoints;  // ascending
  // Of all its states: snapshots in the store or, without one, memory.
  int64_t state_bytes = 0;
  bool in_memory = false;  // its newest state; else only in the store
  std::chrono::system_clock::time_point created;
  std::chrono::system_clock::time_point used;  // the last turn or change
  std::optional<std::chrono::system_clock::time_point> expires;
};

// One of a session's states: the newest, or a kept revision, or a checkpoint.
struct SessionPoint {
  std::optional<int64_t> revision;
  std::string checkpoint;  // INVALID_ARGUMENT beside a revision
};

struct SessionPage {
  std::vector<SessionInfo> sessions;  // ascending by id
  std::string next_page_token;        // empty: no more
};

// The claim on a session while a turn runs; nobody else can change it.
// Destroyed without a successful Commit, it leaves the session as it was.
// Move-only; used by one thread at a time. May outlive the registry.
class SessionTurn {
 public:
  SessionTurn(SessionTurn&&) noexcept;
  SessionTurn& operator=(SessionTurn&&) noexcept;
  ~SessionTurn();

  const std::string& id() const;
  // The state to go on from; null: the session is empty.
  const SequenceStatePtr& start() const;
  // Whether Commit may take this checkpoint name: INVALID_ARGUMENT, or
  // RESOURCE_EXHAUSTED if it would be one too many.
  absl::Status CheckCheckpoint(std::string_view checkpoint) const;
  // Makes `state` the newest revision, kept under `checkpoint`, too, unless
  // that is empty. OK means stored. The session is free again, whatever comes
  // back; after an error it is as before. Once only. Blocks on the store.
  // After UNAVAILABLE a restarted server may know the revision: the store did
  // not say whether it has it.
  absl::StatusOr<int64_t> Commit(SequenceStatePtr state,
                                 std::string_view checkpoint);

 private:
  friend class SessionRegistry;
  struct Claim;
  explicit SessionTurn(std::unique_ptr<Claim> claim);
  std::unique_ptr<Claim> claim_;
};

// Which sessions there are: their revisions and checkpoints, who uses them,
// and where their states are. Knows nothing of models or calls.
//
// Errors of every call that names a session: INVALID_ARGUMENT for what is no
// name, NOT_FOUND, ABORTED if it is in use and the call would change it,
// DATA_LOSS or FAILED_PRECONDITION if its snapshot is damaged or another
// model's, UNAVAILABLE or RESOURCE_EXHAUSTED of the store.
//
// Threads: thread-safe. Everything but List may block on the store.
class SessionRegistry {
 public:
  // store: null if sessions end with the process. FAILED_PRECONDITION,
  // UNAVAILABLE ... as the store says. `metrics` must outlive the registry and
  // all turns.
  static absl::StatusOr<std::unique_ptr<SessionRegistry>> Open(
      RegistryOptions options, std::unique_ptr<SnapshotStore> store,
      Metrics& metrics);
  ~SessionRegistry();
  SessionRegistry(const SessionRegistry&) = delete;

  // A line for each session of the store that can't be read. It answers with
  // DATA_LOSS until it is deleted.
  const std::vector<std::string>& warnings() const;

  // An empty session. ALREADY_EXISTS; RESOURCE_EXHAUSTED if there are as many
  // as there may be, for this user or in all, or without memory for one turn;
  // of Fork and Import also if the user has no room for the state.
  absl::StatusOr<SessionInfo> Create(const SessionOptions& options);

  // expected_revision: none or the newest: goes on from there. The one before:
  // goes on from that one, and the newest is discarded when the turn commits.
  // Another: FAILED_PRECONDITION. RESOURCE_EXHAUSTED if the user has no room
  // for one more state, or without a store if there is no memory for it; else
  // the turn has it for sure.
  absl::StatusOr<SessionTurn> BeginTurn(
      std::string_view id, std::optional<int64_t> expected_revision);
  // The client of the turn that made `revision` never saw its end: removes it,
  // if nobody has used the session since, so that the state that the turn
  // began with is the newest again, and an overwritten checkpoint is back.
  // Whether it was taken back.
  bool UndoTurn(std::string_view id, int64_t revision);

  // A new session that begins with a state of another one, which may be in
  // use. Errors as of Create, and NOT_FOUND if it has no such point.
  absl::StatusOr<SessionInfo> Fork(std::string_view id,
                                   const SessionPoint& point,
                                   const SessionOptions& options);
  // Makes an older state the newest, as a new revision.
  absl::StatusOr<SessionInfo> Rewind(std::string_view id,
                                     const SessionPoint& point);
  absl::Status Delete(std::string_view id);

  // The sessions of `user`, or all if it is empty. page_size: 1 to 1000; 100
  // if it is 0. Never fails: an unknown token is a place in the order of ids.
  SessionPage List(std::string_view user, int32_t page_size,
                   std::string_view page_token);
  absl::StatusOr<SessionInfo> Get(std::string_view id);

  // A state, to be exported. FAILED_PRECONDITION if the session is empty.
  absl::StatusOr<SequenceStatePtr> Read(std::string_view id,
                                        const SessionPoint& point);
  // A new session with this state. Errors as of Create, and INVALID_ARGUMENT
  // if it is no state of the model.
  absl::StatusOr<SessionInfo> Import(SequenceStatePtr state,
                                     const SessionOptions& options);

  // Removes expired sessions now, as the registry's thread does.
  void Sweep();

  struct Impl;

 private:
  explicit SessionRegistry(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_SESSION_REGISTRY_H_
