// What each user's sessions take together, and how much that may be.
#include <map>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/session/session_registry_impl.h"
#include "server/session/snapshot.h"

namespace chela {

int64_t StateBytes(const SessionRecord& record) {
  std::map<int64_t, int64_t> bytes;
  for (const SessionRecord::Revision& revision : record.revisions) {
    bytes[revision.state.key] = revision.state.bytes;
  }
  for (const auto& [name, state] : record.checkpoints) {
    bytes[state.key] = state.bytes;
  }
  int64_t sum = 0;
  for (const auto& [key, count] : bytes) sum += count;
  return sum;
}

void SessionRegistry::Impl::AddToUser(const Session& session) {
  ++users[session.record.user].sessions;
}

void SessionRegistry::Impl::RemoveFromUser(Session& session) {
  Charge(session, 0);
  const auto user = users.find(session.record.user);
  if (--user->second.sessions == 0) users.erase(user);
}

void SessionRegistry::Impl::Charge(Session& session, int64_t bytes) {
  users.find(session.record.user)->second.bytes +=
      bytes - std::exchange(session.charged_bytes, bytes);
}

absl::Status SessionRegistry::Impl::CheckUser(const std::string& user,
                                              int64_t sessions_more,
                                              int64_t bytes_more) const {
  const auto found = users.find(user);
  const UserShare share = found == users.end() ? UserShare() : found->second;
  const int64_t most = options.max_sessions_per_user;
  if (most > 0 && share.sessions + sessions_more > most) {
    return absl::ResourceExhaustedError(
        absl::StrCat("sessions: user \"", absl::CEscape(user), "\" has ",
                     share.sessions, ", as many as one may have"));
  }
  const int64_t most_bytes = options.max_bytes_per_user;
  if (most_bytes > 0 && share.bytes + bytes_more > most_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("sessions: user \"", absl::CEscape(user), "\" has ",
                     share.bytes, " bytes of states, ", bytes_more,
                     " more may come; the limit is ", most_bytes));
  }
  return absl::OkStatus();
}

int64_t SessionRegistry::Impl::MostOfATurn() const {
  return store == nullptr
             ? MaxHostBytes(options.model)
             : static_cast<int64_t>(MaxSnapshotBytes(options.model));
}

}  // namespace chela
