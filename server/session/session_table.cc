// What the registry's calls have in common: finding, describing and counting
// sessions, writing their records, giving up what has expired.
#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/session/session_registry_impl.h"

namespace chela {
namespace {

using std::chrono::milliseconds;
using std::chrono::system_clock;

system_clock::time_point FromMs(int64_t ms) {
  return system_clock::time_point(milliseconds(ms));
}

const char* ResultName(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return "ok";
    case absl::StatusCode::kNotFound:
      return "not_found";
    case absl::StatusCode::kAborted:
      return "aborted";
    case absl::StatusCode::kFailedPrecondition:
      return "failed_precondition";
    case absl::StatusCode::kResourceExhausted:
      return "resource_exhausted";
    case absl::StatusCode::kDataLoss:
      return "data_loss";
    case absl::StatusCode::kInvalidArgument:
      return "invalid_argument";
    case absl::StatusCode::kAlreadyExists:
      return "already_exists";
    case absl::StatusCode::kUnavailable:
      return "unavailable";
    default:
      return "internal";
  }
}

}  // namespace

void SessionRegistry::Impl::Report(
    const char* op, const absl::Status& status,
    std::chrono::steady_clock::time_point begin) {
  const std::chrono::duration<double> seconds =
      std::chrono::steady_clock::now() - begin;
  metrics.SessionOperation(op, ResultName(status.code()), seconds.count());
}

int64_t SessionRegistry::Impl::NowMs() const {
  return std::chrono::duration_cast<milliseconds>(
             options.now().time_since_epoch())
      .count();
}

int64_t SessionRegistry::Impl::SteadyMs() const {
  return std::chrono::duration_cast<milliseconds>(
             options.steady_now().time_since_epoch())
      .count();
}

int64_t SessionRegistry::Impl::IdleMs(const Session& session) const {
  return SteadyMs() - session.idle_since_ms;
}

void SessionRegistry::Impl::Touch(Session& session) const {
  session.record.used_ms = NowMs();
  session.idle_since_ms = SteadyMs();
}

bool SessionRegistry::Impl::Expired(const Session& session) const {
  const SessionRecord& record = session.record;
  return session.ending || (record.ttl_seconds > 0 && !session.busy &&
                            IdleMs(session) >= record.ttl_seconds * 1000);
}

absl::StatusOr<Session*> SessionRegistry::Impl::Find(std::string_view id) {
  const auto found = sessions.find(id);
  if (found == sessions.end() || found->second.creating ||
      Expired(found->second)) {
    return absl::NotFoundError(
        absl::StrCat("session: there is no ", std::string(id)));
  }
  if (!found->second.damage.ok()) return found->second.damage;
  return &found->second;
}

absl::StatusOr<Session*> SessionRegistry::Impl::ClaimSession(
    std::string_view id) {
  const absl::StatusOr<Session*> session = Find(id);
  if (!session.ok()) return session;
  if ((*session)->busy) {
    return absl::AbortedError(absl::StrCat("session: ", std::string(id),
                                           " is in use by another call"));
  }
  (*session)->busy = true;
  return session;
}

SessionInfo SessionRegistry::Impl::Describe(const Session& session) const {
  const SessionRecord& record = session.record;
  SessionInfo info;
  info.id = record.id;
  info.user = record.user;
  info.tokens = record.newest().state.tokens;
  info.revision = record.newest().number;
  for (const SessionRecord::Revision& revision : record.revisions) {
    info.revisions.push_back(revision.number);
  }
  for (const auto& [name, state] : record.checkpoints) {
    info.checkpoints.push_back(name);
  }
  info.state_bytes = StateBytes(record);
  info.in_memory = session.in_memory;
  info.created = FromMs(record.created_ms);
  info.used = FromMs(record.used_ms);
  if (record.ttl_seconds > 0) {
    info.expires =
        FromMs(NowMs() - IdleMs(session) + record.ttl_seconds * 1000);
  }
  return info;
}

void SessionRegistry::Impl::Put(Session& session, int64_t key,
                                SequenceStatePtr state) {
  cache.Put({session.record.id, key}, std::move(state));
  Count(session);
  if (store == nullptr) return;
  for (const StateCache::Key& dropped : cache.Shrink(options.memory_bytes)) {
    const auto found = sessions.find(dropped.first);
    if (found != sessions.end()) Count(found->second);
  }
}

void SessionRegistry::Impl::Install(Session& session, SessionRecord next) {
  std::set<int64_t> kept = next.Keys();
  if (session.undo.has_value() && session.undo->displaced.has_value()) {
    kept.insert(session.undo->displaced->key);
  }
  for (const int64_t key : session.record.Keys()) {
    if (kept.count(key) > 0) continue;
    cache.Erase({session.record.id, key});
    session.garbage.push_back(key);
  }
  session.record = std::move(next);
  Count(session);
}

void SessionRegistry::Impl::ForgetUndo(Session& session) {
  if (!session.undo.has_value()) return;
  const std::optional<KeptState> displaced = session.undo->displaced;
  session.undo.reset();
  if (!displaced.has_value() || displaced->key == 0 ||
      session.record.Keys().count(displaced->key) > 0) {
    return;
  }
  cache.Erase({session.record.id, displaced->key});
  session.garbage.push_back(displaced->key);
}

void SessionRegistry::Impl::Count(Session& session) {
  const int64_t key = session.record.newest().state.key;
  const bool now = key == 0 || cache.Has({session.record.id, key});
  if (now != session.in_memory) in_memory += now ? 1 : -1;
  session.in_memory = now;
}

void SessionRegistry::Impl::PublishCounts() {
  metrics.SetSessions(in_memory,
                      static_cast<int64_t>(sessions.size()) - in_memory);
}

void SessionRegistry::Impl::Remove(Session& session) {
  const std::string id = session.record.id;
  for (const int64_t key : session.record.Keys()) cache.Erase({id, key});
  ForgetUndo(session);
  if (session.in_memory) --in_memory;
  RemoveFromUser(session);
  sessions.erase(id);
  PublishCounts();
}

absl::Status SessionRegistry::Impl::CheckRoom(int64_t bytes) const {
  const int64_t used = cache.bytes() + reserved_bytes;
  if (bytes <= options.memory_bytes - used) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "sessions: ", used, " bytes of states are in memory, ", bytes,
      " more are wanted; the limit is ", options.memory_bytes));
}

absl::Status SessionRegistry::Impl::Write(Session& session,
                                          const SessionRecord& next,
                                          const NewSnapshot* snapshot) {
  if (store == nullptr) return absl::OkStatus();
  absl::Status written = store->Write(next, snapshot);
  const std::lock_guard lock(mutex);
  session.rewrite = !written.ok();
  if (!written.ok() && snapshot != nullptr) {
    session.garbage.push_back(snapshot->key);
  }
  return written;
}

void SessionRegistry::Impl::DropGarbage(Session& session) {
  std::vector<int64_t> keys;
  {
    const std::lock_guard lock(mutex);
    keys.swap(session.garbage);
  }
  if (keys.empty() || store == nullptr) return;
  if (store->Drop(session.record.id, keys).ok()) return;
  const std::lock_guard lock(mutex);  // Another time, then.
  session.garbage.insert(session.garbage.end(), keys.begin(), keys.end());
}

void SessionRegistry::Impl::Release(Session& session, int64_t reserved) {
  const std::lock_guard lock(mutex);
  reserved_bytes -= reserved;
  Charge(session, StateBytes(session.record));
  session.busy = session.ending = false;
  PublishCounts();
}

void SessionRegistry::Impl::Expire(std::string_view only) {
  std::vector<Session*> expired;
  {
    const std::lock_guard lock(mutex);
    for (auto& [id, session] : sessions) {
      if ((!only.empty() && id != only) || session.busy || !Expired(session)) {
        continue;
      }
      session.busy = session.ending = true;
      expired.push_back(&session);
    }
  }
  for (Session* session : expired) {
    if (store != nullptr && !store->Delete(session->record.id).ok()) {
      Release(*session);  // It stays expired: the next sweep tries again.
      continue;
    }
    const std::lock_guard lock(mutex);
    Remove(*session);
  }
}

void SessionRegistry::Impl::Repair() {
  if (store == nullptr) return;
  std::vector<Session*> untidy;
  {
    const std::lock_guard lock(mutex);
    for (auto& [id, session] : sessions) {
      if (session.busy || (!session.rewrite && session.garbage.empty())) {
        continue;
      }
      session.busy = true;
      untidy.push_back(&session);
    }
  }
  for (Session* session : untidy) {
    if (!session->rewrite || Write(*session, session->record, nullptr).ok()) {
      DropGarbage(*session);
    }
    Release(*session);
  }
}

void SessionRegistry::Impl::RunSweeper() {
  std::unique_lock lock(mutex);
  while (!stop) {
    stopping.wait_for(lock, options.sweep_interval);
    if (stop) return;
    lock.unlock();
    Expire("");
    Repair();
    lock.lock();
  }
}

}  // namespace chela
