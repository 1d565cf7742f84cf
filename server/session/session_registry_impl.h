#ifndef CHELA_SERVER_SESSION_SESSION_REGISTRY_IMPL_H_
#define CHELA_SERVER_SESSION_SESSION_REGISTRY_IMPL_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/metrics/metrics.h"
#include "server/session/session_record.h"
#include "server/session/session_registry.h"
#include "server/session/state_cache.h"

namespace chela {

// One session. Whoever set `busy` may read everything without the registry's
// mutex and is the only one to change it, with the mutex; it stays where it is
// meanwhile.
struct Session {
  // How the newest revision can be taken back.
  struct Undo {
    int64_t revision = 0;
    SessionRecord::Revision base;        // what the turn began with
    std::string checkpoint;              // that the turn named; empty: none
    std::optional<KeptState> displaced;  // which had that name before
  };

  SessionRecord record;
  int64_t idle_since_ms = 0;  // by the steady clock
  bool busy = false;
  bool creating = false;      // not in the store yet, for nobody else to see
  bool ending = false;        // its time ran out, and it is being removed
  bool in_memory = false;     // as counted for the metrics
  bool rewrite = false;       // the store may hold another record than this one
  int64_t charged_bytes = 0;  // to its user
  absl::Status damage;        // why it can't be read
  std::optional<Undo> undo;
  std::vector<int64_t> garbage;  // keys that the store may hold needlessly
};

// What a user's sessions have together.
struct UserShare {
  int64_t sessions = 0;
  int64_t bytes = 0;  // of states; of a turn that runs, the most it may add
};

struct SessionRegistry::Impl {
  Impl(RegistryOptions registry_options,
       std::unique_ptr<SnapshotStore> snapshot_store, Metrics& registry_metrics)
      : options(std::move(registry_options)),
        store(std::move(snapshot_store)),
        metrics(registry_metrics) {}

  const RegistryOptions options;
  const std::unique_ptr<SnapshotStore> store;  // null: memory alone
  Metrics& metrics;
  std::vector<std::string> warnings;

  std::mutex mutex;  // guards what follows, but what a busy session says above
  std::map<std::string, Session, std::less<>> sessions;
  std::map<std::string, UserShare> users;
  StateCache cache;
  int64_t reserved_bytes = 0;  // of memory, for turns that run
  int64_t in_memory = 0;       // sessions whose newest state is there

  std::condition_variable stopping;
  bool stop = false;
  std::thread sweeper;

  // Reports an operation to the metrics. `call` gives a Status or a StatusOr.
  template <typename Call>
  auto Measured(const char* op, const Call& call) {
    const auto begin = std::chrono::steady_clock::now();
    auto result = call();
    Report(op, StatusOf(result), begin);
    return result;
  }
  void Report(const char* op, const absl::Status& status,
              std::chrono::steady_clock::time_point begin);
  static const absl::Status& StatusOf(const absl::Status& s) { return s; }
  template <typename T>
  static const absl::Status& StatusOf(const absl::StatusOr<T>& s) {
    return s.status();
  }

  int64_t NowMs() const;
  int64_t SteadyMs() const;

  // With the mutex:
  // The session that a call may look at. NOT_FOUND, DATA_LOSS.
  absl::StatusOr<Session*> Find(std::string_view id);
  // The same for a change: ABORTED if it is busy, otherwise it is from now on.
  absl::StatusOr<Session*> ClaimSession(std::string_view id);
  bool Expired(const Session& session) const;
  int64_t IdleMs(const Session& session) const;
  void Touch(Session& session) const;  // it is used now
  SessionInfo Describe(const Session& session) const;
  void Put(Session& session, int64_t key, SequenceStatePtr state);
  // Makes `next` the record. Forgets states that nothing names any more: their
  // keys become garbage.
  void Install(Session& session, SessionRecord next);
  void ForgetUndo(Session& session);
  void Count(Session& session);  // whether it is in memory
  void PublishCounts();
  void Remove(Session& session);
  absl::Status CheckRoom(int64_t bytes) const;

  // With the mutex, session_users.cc:
  void AddToUser(const Session& session);
  void RemoveFromUser(Session& session);
  // What the session takes of its user's share from now on.
  void Charge(Session& session, int64_t bytes);
  // RESOURCE_EXHAUSTED if the user's limits do not allow so much more.
  absl::Status CheckUser(const std::string& user, int64_t sessions_more,
                         int64_t bytes_more) const;
  int64_t MostOfATurn() const;  // bytes of the state at its end

  // Without the mutex, the session being busy:
  // Writes the record, with `snapshot` if any; on an error the store may hold
  // either record.
  absl::Status Write(Session& session, const SessionRecord& next,
                     const NewSnapshot* snapshot);
  void DropGarbage(Session& session);
  void Release(Session& session, int64_t reserved = 0);  // no longer busy

  // Without the mutex:
  // One state of a session, from memory or the store. May race with changes
  // of the session: ABORTED if the state was given up meanwhile.
  absl::StatusOr<SequenceStatePtr> Load(const std::string& id,
                                        const KeptState& kept);
  // A session that begins with `state` (null: empty).
  absl::StatusOr<SessionInfo> Add(const SessionOptions& given,
                                  SequenceStatePtr state);
  // Claims a new session's name; its state will have so many bytes.
  absl::StatusOr<Session*> Insert(const SessionOptions& given, int64_t bytes);
  absl::StatusOr<SequenceStatePtr> ReadPoint(std::string_view id,
                                             const SessionPoint& point,
                                             bool may_be_empty);
  void Expire(std::string_view only);  // empty: all that have expired
  void Repair();
  void RunSweeper();
};

// The state at `point`. NOT_FOUND, INVALID_ARGUMENT.
absl::StatusOr<KeptState> FindPoint(const SessionRecord& record,
                                    const SessionPoint& point);

// Of all states that the session keeps, each counted once.
int64_t StateBytes(const SessionRecord& record);

// How a state is described, once its snapshot (or itself, without a store) has
// `bytes`.
KeptState ToKept(const SequenceState& state, int64_t key, int64_t bytes);

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_SESSION_REGISTRY_IMPL_H_
