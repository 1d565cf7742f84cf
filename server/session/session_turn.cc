#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/status_macros.h"
#include "server/session/session_registry.h"
#include "server/session/session_registry_impl.h"
#include "server/session/snapshot.h"

namespace chela {
namespace {

using Revision = SessionRecord::Revision;

// Which of the kept revisions a turn goes on from.
absl::StatusOr<Revision> ChooseBase(const SessionRecord& record,
                                    std::optional<int64_t> expected) {
  if (!expected.has_value()) return record.newest();
  std::vector<int64_t> numbers;
  for (const Revision& revision : record.revisions) {
    if (revision.number == *expected) return revision;
    numbers.push_back(revision.number);
  }
  return absl::FailedPreconditionError(
      absl::StrCat("expected_revision: ", *expected, "; session ", record.id,
                   " has ", absl::StrJoin(numbers, " and ")));
}

}  // namespace

struct SessionTurn::Claim {
  std::shared_ptr<SessionRegistry::Impl> impl;
  Session* session = nullptr;  // busy until the claim ends
  Revision base;
  SequenceStatePtr start;
  int64_t reserved = 0;
  std::chrono::steady_clock::duration begin_time{};

  ~Claim() {
    if (session != nullptr) impl->Release(*session, reserved);
  }

  // The turn's end then has its place for sure.
  absl::Status Reserve();
  SessionRecord Next(const SequenceState& state, std::string_view checkpoint,
                     int64_t bytes) const;
  // Stores `next`, then makes it the session's.
  absl::Status Keep(SessionRecord next, SequenceStatePtr state,
                    std::string_view checkpoint, std::string snapshot);
  absl::StatusOr<int64_t> Commit(SequenceStatePtr state,
                                 std::string_view checkpoint);
};

SessionTurn::SessionTurn(std::unique_ptr<Claim> claim)
    : claim_(std::move(claim)) {}
SessionTurn::SessionTurn(SessionTurn&&) noexcept = default;
SessionTurn& SessionTurn::operator=(SessionTurn&&) noexcept = default;
SessionTurn::~SessionTurn() = default;

const std::string& SessionTurn::id() const {
  return claim_->session->record.id;
}

const SequenceStatePtr& SessionTurn::start() const { return claim_->start; }

absl::Status SessionTurn::CheckCheckpoint(std::string_view checkpoint) const {
  if (checkpoint.empty()) return absl::OkStatus();
  CHELA_RETURN_IF_ERROR(CheckName("checkpoint", checkpoint));
  const auto& checkpoints = claim_->session->record.checkpoints;
  if (checkpoints.size() < kMaxCheckpoints ||
      checkpoints.count(std::string(checkpoint)) > 0) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("checkpoint: session ", id(), " has ", checkpoints.size(),
                   " of them; at most ", kMaxCheckpoints, " are kept"));
}

absl::Status SessionTurn::Claim::Reserve() {
  const std::lock_guard lock(impl->mutex);
  const int64_t most = impl->MostOfATurn();
  CHELA_RETURN_IF_ERROR(impl->CheckUser(session->record.user, 0, most));
  if (impl->store == nullptr) {
    CHELA_RETURN_IF_ERROR(impl->CheckRoom(most));
    reserved = most;
    impl->reserved_bytes += most;
  }
  impl->Charge(*session, session->charged_bytes + most);
  return absl::OkStatus();
}

SessionRecord SessionTurn::Claim::Next(const SequenceState& state,
                                       std::string_view checkpoint,
                                       int64_t bytes) const {
  SessionRecord next = session->record;
  const KeptState kept = ToKept(state, next.next_key++, bytes);
  next.revisions = {{next.next_revision++, kept}, base};
  if (!checkpoint.empty()) next.checkpoints[std::string(checkpoint)] = kept;
  next.used_ms = impl->NowMs();
  return next;
}

absl::Status SessionTurn::Claim::Keep(SessionRecord next,
                                      SequenceStatePtr state,
                                      std::string_view checkpoint,
                                      std::string snapshot) {
  const int64_t key = next.newest().state.key;
  const NewSnapshot stored = {key, std::move(snapshot)};
  absl::Status written = impl->Write(*session, next, &stored);
  {
    const std::lock_guard lock(impl->mutex);
    if (!written.ok()) {
      // The store may have them: neither is used again.
      session->record.next_key = next.next_key;
      session->record.next_revision = next.next_revision;
      return written;
    }
    Session::Undo undo = {.revision = next.newest().number,
                          .base = base,
                          .checkpoint = std::string(checkpoint),
                          .displaced = std::nullopt};
    const auto before = session->record.checkpoints.find(undo.checkpoint);
    if (before != session->record.checkpoints.end()) {
      undo.displaced = before->second;
    }
    session->undo = std::move(undo);
    impl->Install(*session, std::move(next));
    impl->Touch(*session);
    impl->Put(*session, key, std::move(state));
  }
  impl->DropGarbage(*session);
  return absl::OkStatus();
}

absl::StatusOr<int64_t> SessionTurn::Claim::Commit(
    SequenceStatePtr state, std::string_view checkpoint) {
  std::string snapshot;
  int64_t bytes = HostBytes(*state);
  if (impl->store == nullptr) {
    CHELA_RETURN_IF_ERROR(CheckSequenceState(*state, impl->options.model));
  } else {
    absl::StatusOr<std::string> encoded =
        EncodeSnapshot(*state, impl->options.model);
    if (!encoded.ok()) return encoded.status();
    snapshot = *std::move(encoded);
    bytes = static_cast<int64_t>(snapshot.size());
  }
  SessionRecord next = Next(*state, checkpoint, bytes);
  const int64_t revision = next.newest().number;
  CHELA_RETURN_IF_ERROR(
      Keep(std::move(next), std::move(state), checkpoint, std::move(snapshot)));
  return revision;
}

absl::StatusOr<int64_t> SessionTurn::Commit(SequenceStatePtr state,
                                            std::string_view checkpoint) {
  // The duration is the session's share of the turn: its begin and its end.
  const auto begin = std::chrono::steady_clock::now() - claim_->begin_time;
  absl::StatusOr<int64_t> revision = int64_t{0};
  const absl::Status checked = CheckCheckpoint(checkpoint);
  if (checked.ok()) {
    revision = claim_->Commit(std::move(state), checkpoint);
  } else {
    revision = checked;
  }
  claim_->impl->Report("turn", revision.status(), begin);
  claim_.reset();
  return revision;
}

absl::StatusOr<SessionTurn> SessionRegistry::BeginTurn(
    std::string_view id, std::optional<int64_t> expected_revision) {
  const auto begin = std::chrono::steady_clock::now();
  auto claim = std::make_unique<SessionTurn::Claim>();
  claim->impl = impl_;
  const auto start = [&]() -> absl::Status {
    CHELA_RETURN_IF_ERROR(CheckName("session", id));
    {
      const std::lock_guard lock(impl_->mutex);
      const absl::StatusOr<Session*> found = impl_->ClaimSession(id);
      if (!found.ok()) return found.status();
      claim->session = *found;  // From here on every return gives it back.
    }
    Session& session = *claim->session;
    const absl::StatusOr<Revision> base =
        ChooseBase(session.record, expected_revision);
    if (!base.ok()) return base.status();
    claim->base = *base;
    CHELA_RETURN_IF_ERROR(claim->Reserve());
    if (base->state.key != 0) {
      absl::StatusOr<SequenceStatePtr> state =
          impl_->Load(session.record.id, base->state);
      if (!state.ok()) return state.status();
      claim->start = *std::move(state);
    }
    const std::lock_guard lock(impl_->mutex);
    impl_->ForgetUndo(session);
    impl_->Touch(session);
    return absl::OkStatus();
  };
  const absl::Status started = start();
  if (!started.ok()) {
    claim.reset();
    impl_->Report("turn", started, begin);
    return started;
  }
  claim->begin_time = std::chrono::steady_clock::now() - begin;
  return SessionTurn(std::move(claim));
}

bool SessionRegistry::UndoTurn(std::string_view id, int64_t revision) {
  Session* session = nullptr;
  {
    const std::lock_guard lock(impl_->mutex);
    const absl::StatusOr<Session*> found = impl_->ClaimSession(id);
    if (!found.ok()) return false;
    session = *found;
  }
  bool undone = false;
  const std::optional<Session::Undo>& undo = session->undo;
  if (undo.has_value() && undo->revision == revision &&
      session->record.newest().number == revision) {
    SessionRecord next = session->record;
    next.revisions = {undo->base};
    if (undo->displaced.has_value()) {
      next.checkpoints[undo->checkpoint] = *undo->displaced;
    } else {
      next.checkpoints.erase(undo->checkpoint);
    }
    if (impl_->Write(*session, next, nullptr).ok()) {
      {
        const std::lock_guard lock(impl_->mutex);
        impl_->Install(*session, std::move(next));
        session->undo.reset();  // Its displaced state is named again.
      }
      impl_->DropGarbage(*session);
      undone = true;
    }
  }
  impl_->Release(*session);
  return undone;
}

}  // namespace chela
