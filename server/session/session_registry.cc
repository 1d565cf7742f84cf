#include "server/session/session_registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "server/session/session_registry_impl.h"

namespace chela {
namespace {

constexpr int32_t kDefaultPage = 100;
constexpr int32_t kMaxPage = 1000;

// The sessions that the store holds.
absl::Status LoadSessions(SessionRegistry::Impl& impl) {
  absl::StatusOr<SnapshotStore::Contents> contents = impl.store->Load();
  if (!contents.ok()) return contents.status();
  for (SessionRecord& record : contents->sessions) {
    Session& session = impl.sessions[record.id];
    session.record = std::move(record);
    impl.AddToUser(session);
    impl.Charge(session, StateBytes(session.record));
    // A clock that was set back gives no time before its last use.
    const int64_t idle =
        std::max(impl.NowMs() - session.record.used_ms, int64_t{0});
    session.idle_since_ms = impl.SteadyMs() - idle;
    impl.Count(session);
  }
  for (auto& [id, damage] : contents->damaged) {
    Session& session = impl.sessions[id];
    session.record.id = id;
    session.record.revisions = {{}};
    session.damage = damage;
    impl.AddToUser(session);
    impl.warnings.push_back(absl::StrCat(impl.store->Name(), ": session ", id,
                                         ": ", damage.message()));
  }
  impl.PublishCounts();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SessionRegistry>> SessionRegistry::Open(
    RegistryOptions options, std::unique_ptr<SnapshotStore> store,
    Metrics& metrics) {
  auto impl =
      std::make_shared<Impl>(std::move(options), std::move(store), metrics);
  if (impl->store != nullptr) CHELA_RETURN_IF_ERROR(LoadSessions(*impl));
  if (impl->options.sweep_interval.count() > 0) {
    impl->sweeper = std::thread([raw = impl.get()] { raw->RunSweeper(); });
  }
  return std::unique_ptr<SessionRegistry>(new SessionRegistry(std::move(impl)));
}

SessionRegistry::SessionRegistry(std::shared_ptr<Impl> impl)
    : impl_(std::move(impl)) {}

SessionRegistry::~SessionRegistry() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stop = true;
  }
  impl_->stopping.notify_all();
  if (impl_->sweeper.joinable()) impl_->sweeper.join();
}

const std::vector<std::string>& SessionRegistry::warnings() const {
  return impl_->warnings;
}

absl::StatusOr<SessionInfo> SessionRegistry::Create(
    const SessionOptions& options) {
  return impl_->Measured("create", [&]() -> absl::StatusOr<SessionInfo> {
    if (impl_->store == nullptr) {
      const std::lock_guard lock(impl_->mutex);
      CHELA_RETURN_IF_ERROR(
          impl_->CheckRoom(MaxHostBytes(impl_->options.model)));
    }
    return impl_->Add(options, nullptr);
  });
}

absl::Status SessionRegistry::Delete(std::string_view id) {
  return impl_->Measured("delete", [&]() -> absl::Status {
    CHELA_RETURN_IF_ERROR(CheckName("session", id));
    absl::StatusOr<Session*> session = nullptr;
    {
      const std::lock_guard lock(impl_->mutex);
      session = impl_->ClaimSession(id);
      // A damaged one can be deleted, too.
      if (session.status().code() == absl::StatusCode::kDataLoss) {
        session = &impl_->sessions.find(id)->second;
        if ((*session)->busy) return absl::AbortedError("session: in use");
        (*session)->busy = true;
      }
    }
    if (!session.ok()) return session.status();
    if (impl_->store != nullptr) {
      const absl::Status deleted = impl_->store->Delete((*session)->record.id);
      if (!deleted.ok()) {
        impl_->Release(**session);
        return deleted;
      }
    }
    const std::lock_guard lock(impl_->mutex);
    impl_->Remove(**session);
    return absl::OkStatus();
  });
}

SessionPage SessionRegistry::List(std::string_view user, int32_t page_size,
                                  std::string_view page_token) {
  const auto begin = std::chrono::steady_clock::now();
  const size_t size = static_cast<size_t>(
      page_size <= 0 ? kDefaultPage : std::min(page_size, kMaxPage));
  SessionPage page;
  {
    const std::lock_guard lock(impl_->mutex);
    for (auto at = impl_->sessions.upper_bound(page_token);
         at != impl_->sessions.end(); ++at) {
      const Session& session = at->second;
      if (session.creating || !session.damage.ok() || impl_->Expired(session) ||
          (!user.empty() && session.record.user != user)) {
        continue;
      }
      if (page.sessions.size() == size) {
        page.next_page_token = page.sessions.back().id;
        break;
      }
      page.sessions.push_back(impl_->Describe(session));
    }
  }
  impl_->Report("list", absl::OkStatus(), begin);
  return page;
}

absl::StatusOr<SessionInfo> SessionRegistry::Get(std::string_view id) {
  CHELA_RETURN_IF_ERROR(CheckName("session", id));
  const std::lock_guard lock(impl_->mutex);
  const absl::StatusOr<Session*> session = impl_->Find(id);
  if (!session.ok()) return session.status();
  return impl_->Describe(**session);
}

void SessionRegistry::Sweep() {
  impl_->Expire("");
  impl_->Repair();
}

}  // namespace chela
