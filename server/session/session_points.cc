// States of sessions that become other sessions, other revisions or exports.
#include <sys/random.h>

#include <array>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "models/utf8.h"
#include "server/session/session_registry.h"
#include "server/session/session_registry_impl.h"
#include "server/session/snapshot.h"

namespace chela {
namespace {

absl::StatusOr<std::string> RandomId() {
  std::array<char, 16> bytes;
  if (getrandom(bytes.data(), bytes.size(), 0) !=
      static_cast<ssize_t>(bytes.size())) {
    return absl::InternalError("session: the system gives no random bytes");
  }
  return absl::BytesToHexString({bytes.data(), bytes.size()});
}

absl::Status CheckOptions(const SessionOptions& options) {
  if (!options.id.empty()) {
    CHELA_RETURN_IF_ERROR(CheckName("session", options.id));
  }
  if (options.user.size() > kMaxUserBytes ||
      ValidUtf8Prefix(options.user) != options.user.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("user: ", options.user.size(), " bytes; want at most ",
                     kMaxUserBytes, ", in UTF-8"));
  }
  const int64_t ttl = options.ttl.value_or(std::chrono::seconds(0)).count();
  if (ttl >= 0 && ttl <= kMaxTtlSeconds) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "ttl: ", ttl, " s; want 0 (never) to ", kMaxTtlSeconds, " s"));
}

}  // namespace

absl::StatusOr<KeptState> FindPoint(const SessionRecord& record,
                                    const SessionPoint& point) {
  if (point.revision.has_value() && !point.checkpoint.empty()) {
    return absl::InvalidArgumentError(
        "point: a revision and a checkpoint; want one of them");
  }
  if (!point.checkpoint.empty()) {
    const auto found = record.checkpoints.find(point.checkpoint);
    if (found != record.checkpoints.end()) return found->second;
    CHELA_RETURN_IF_ERROR(CheckName("checkpoint", point.checkpoint));
    return absl::NotFoundError(absl::StrCat("checkpoint: session ", record.id,
                                            " has no ", point.checkpoint));
  }
  if (!point.revision.has_value()) return record.newest().state;
  for (const SessionRecord::Revision& revision : record.revisions) {
    if (revision.number == *point.revision) return revision.state;
  }
  return absl::NotFoundError(absl::StrCat(
      "revision: session ", record.id, " does not keep ", *point.revision,
      "; the newest is ", record.newest().number));
}

KeptState ToKept(const SequenceState& state, int64_t key, int64_t bytes) {
  return {.key = key,
          .tokens = state.tokens(),
          .token_hash = state.token_hash,
          .bytes = bytes};
}

absl::StatusOr<SequenceStatePtr> SessionRegistry::Impl::Load(
    const std::string& id, const KeptState& kept) {
  {
    const std::lock_guard lock(mutex);
    SequenceStatePtr state = cache.Get({id, kept.key});
    if (state != nullptr) return state;
  }
  const auto load = [&]() -> absl::StatusOr<SequenceStatePtr> {
    if (store == nullptr) return absl::NotFoundError("session: given up");
    const absl::StatusOr<std::string> bytes = store->Read(id, kept);
    if (!bytes.ok()) return bytes.status();
    absl::StatusOr<SequenceStatePtr> state =
        DecodeSnapshot(*bytes, options.model);
    if (state.ok() && ((*state)->tokens() != kept.tokens ||
                       (*state)->token_hash != kept.token_hash)) {
      return absl::DataLossError("it is another state's");
    }
    return state;
  };
  absl::StatusOr<SequenceStatePtr> state = load();
  const std::lock_guard lock(mutex);
  const auto found = sessions.find(id);
  const bool named = found != sessions.end() &&
                     found->second.record.Keys().count(kept.key) > 0;
  if (state.ok()) {
    if (named) Put(found->second, kept.key, *state);
    return state;
  }
  if (!named) {
    return absl::AbortedError(
        absl::StrCat("session: ", id, " was changed by another call"));
  }
  const absl::Status& error = state.status();
  return absl::Status(error.code() == absl::StatusCode::kNotFound
                          ? absl::StatusCode::kDataLoss
                          : error.code(),
                      absl::StrCat("session ", id, ": snapshot ", kept.key,
                                   ": ", error.message()));
}

absl::StatusOr<Session*> SessionRegistry::Impl::Insert(
    const SessionOptions& given, int64_t bytes) {
  CHELA_RETURN_IF_ERROR(CheckOptions(given));
  std::string id = given.id;
  if (id.empty()) {
    absl::StatusOr<std::string> random = RandomId();
    if (!random.ok()) return random.status();
    id = *std::move(random);
  }
  Expire(id);  // An expired one no longer has the name.
  const std::lock_guard lock(mutex);
  if (sessions.count(id) > 0) {
    return absl::AlreadyExistsError(
        absl::StrCat("session: there is a ", id, " already"));
  }
  if (static_cast<int64_t>(sessions.size()) >= options.max_sessions) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "sessions: there are ", sessions.size(), ", as many as may be"));
  }
  CHELA_RETURN_IF_ERROR(CheckUser(given.user, 1, bytes));
  Session& session = sessions[id];
  session.busy = true;
  session.creating = true;
  session.record.id = id;
  session.record.user = given.user;
  AddToUser(session);
  Charge(session, bytes);
  session.record.ttl_seconds = given.ttl.value_or(options.default_ttl).count();
  Touch(session);
  session.record.created_ms = session.record.used_ms;
  session.record.revisions = {{}};
  Count(session);
  return &session;
}

absl::StatusOr<SessionInfo> SessionRegistry::Impl::Add(
    const SessionOptions& given, SequenceStatePtr state) {
  NewSnapshot snapshot = {1, ""};
  int64_t bytes = 0;
  if (state != nullptr) {
    CHELA_RETURN_IF_ERROR(CheckSequenceState(*state, options.model));
    bytes = HostBytes(*state);
    if (store != nullptr) {
      absl::StatusOr<std::string> encoded =
          EncodeSnapshot(*state, options.model);
      if (!encoded.ok()) return encoded.status();
      snapshot.bytes = *std::move(encoded);
      bytes = static_cast<int64_t>(snapshot.bytes.size());
    }
  }
  const absl::StatusOr<Session*> inserted = Insert(given, bytes);
  if (!inserted.ok()) return inserted.status();
  Session& session = **inserted;
  SessionRecord record = session.record;
  if (state != nullptr) {
    record.revisions = {{1, ToKept(*state, snapshot.key, bytes)}};
    record.next_revision = 2;
    record.next_key = 2;
  }
  const absl::Status written =
      Write(session, record, state == nullptr ? nullptr : &snapshot);
  if (!written.ok()) {
    // Whether it is there is not known. Should this fail, too, it expires.
    store->Delete(record.id).IgnoreError();
    const std::lock_guard lock(mutex);
    Remove(session);
    return written;
  }
  const std::lock_guard lock(mutex);
  session.record = std::move(record);
  session.creating = false;
  session.busy = false;
  if (state != nullptr) Put(session, snapshot.key, std::move(state));
  PublishCounts();
  return Describe(session);
}

absl::StatusOr<SequenceStatePtr> SessionRegistry::Impl::ReadPoint(
    std::string_view id, const SessionPoint& point, bool may_be_empty) {
  CHELA_RETURN_IF_ERROR(CheckName("session", id));
  absl::StatusOr<KeptState> kept = KeptState();
  {
    const std::lock_guard lock(mutex);
    const absl::StatusOr<Session*> session = Find(id);
    if (!session.ok()) return session.status();
    kept = FindPoint((*session)->record, point);
    // Its user says so of a busy one, and reads the record meanwhile.
    if (!(*session)->busy) Touch(**session);
  }
  if (!kept.ok()) return kept.status();
  if (kept->key != 0) return Load(std::string(id), *kept);
  if (may_be_empty) return SequenceStatePtr();
  return absl::FailedPreconditionError(
      absl::StrCat("session: ", std::string(id), " is empty there"));
}

absl::StatusOr<SessionInfo> SessionRegistry::Fork(
    std::string_view id, const SessionPoint& point,
    const SessionOptions& options) {
  return impl_->Measured("fork", [&]() -> absl::StatusOr<SessionInfo> {
    absl::StatusOr<SequenceStatePtr> state = impl_->ReadPoint(id, point, true);
    if (!state.ok()) return state.status();
    return impl_->Add(options, *std::move(state));
  });
}

absl::StatusOr<SequenceStatePtr> SessionRegistry::Read(
    std::string_view id, const SessionPoint& point) {
  return impl_->Measured("export",
                         [&] { return impl_->ReadPoint(id, point, false); });
}

absl::StatusOr<SessionInfo> SessionRegistry::Import(
    SequenceStatePtr state, const SessionOptions& options) {
  return impl_->Measured("import", [&]() -> absl::StatusOr<SessionInfo> {
    if (impl_->store == nullptr) {
      const std::lock_guard lock(impl_->mutex);
      CHELA_RETURN_IF_ERROR(impl_->CheckRoom(HostBytes(*state)));
    }
    return impl_->Add(options, std::move(state));
  });
}

absl::StatusOr<SessionInfo> SessionRegistry::Rewind(std::string_view id,
                                                    const SessionPoint& point) {
  return impl_->Measured("rewind", [&]() -> absl::StatusOr<SessionInfo> {
    CHELA_RETURN_IF_ERROR(CheckName("session", id));
    Session* session = nullptr;
    {
      const std::lock_guard lock(impl_->mutex);
      const absl::StatusOr<Session*> found = impl_->ClaimSession(id);
      if (!found.ok()) return found.status();
      session = *found;
    }
    const auto rewind = [&]() -> absl::StatusOr<SessionInfo> {
      const absl::StatusOr<KeptState> kept = FindPoint(session->record, point);
      if (!kept.ok()) return kept.status();
      SessionRecord next = session->record;
      next.revisions = {{next.next_revision++, *kept}, next.newest()};
      next.used_ms = impl_->NowMs();
      CHELA_RETURN_IF_ERROR(impl_->Write(*session, next, nullptr));
      const std::lock_guard lock(impl_->mutex);
      impl_->ForgetUndo(*session);
      impl_->Install(*session, std::move(next));
      impl_->Touch(*session);
      return impl_->Describe(*session);
    };
    absl::StatusOr<SessionInfo> info = rewind();
    if (info.ok()) impl_->DropGarbage(*session);
    impl_->Release(*session);
    return info;
  });
}

}  // namespace chela
