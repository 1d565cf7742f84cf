#include "server/rpc/generation_turn.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "server/rpc/log.h"
#include "server/session/snapshot.h"

namespace chela {

absl::Status GenerationTurn::Begin(const v1::GenerateRequest& request,
                                   const ServedModel& model) {
  model_ = &model;
  return_state_ = request.return_state();
  CHELA_RETURN_IF_ERROR(CheckStates(request));
  if (request.has_state()) {
    const absl::StatusOr<std::string_view> snapshot =
        model.signer->Verify(request.state());
    CHELA_RETURN_IF_ERROR(snapshot.status());
    absl::StatusOr<SequenceStatePtr> state =
        DecodeSnapshot(*snapshot, model.snapshot);
    CHELA_RETURN_IF_ERROR(state.status());
    start_ = *std::move(state);
  }
  return request.has_session() ? BeginSession(request) : absl::OkStatus();
}

absl::Status GenerationTurn::CheckStates(
    const v1::GenerateRequest& request) const {
  if (!return_state_ && !request.has_state()) return absl::OkStatus();
  const char* field = return_state_ ? "return_state" : "state";
  if (model_->signer == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(field,
                     ": this server signs no states; want one with "
                     "--state-key-file, or a session"));
  }
  const auto most = static_cast<int64_t>(MaxSnapshotBytes(model_->snapshot) +
                                         StateSigner::kSignatureBytes);
  if (return_state_ && most > model_->max_message_bytes) {
    return absl::FailedPreconditionError(absl::StrCat(
        field, ": a state of this model has up to ", most,
        " bytes, and this server takes messages of ", model_->max_message_bytes,
        "; want a larger --max-message-bytes, or a session"));
  }
  return absl::OkStatus();
}

absl::Status GenerationTurn::BeginSession(const v1::GenerateRequest& request) {
  std::optional<int64_t> expected;
  if (request.has_expected_revision()) expected = request.expected_revision();
  absl::StatusOr<SessionTurn> turn =
      model_->sessions->BeginTurn(request.session(), expected);
  CHELA_RETURN_IF_ERROR(turn.status());
  checkpoint_ = request.checkpoint();
  if (request.has_checkpoint()) {
    CHELA_RETURN_IF_ERROR(turn->CheckCheckpoint(checkpoint_));
  }
  session_ = turn->id();
  start_ = turn->start();
  turn_.emplace(*std::move(turn));
  return absl::OkStatus();
}

absl::StatusOr<GenerationTurn::Result> GenerationTurn::Commit(
    const SequenceStatePtr& state) {
  Result result;
  // First what may fail without a trace.
  if (return_state_) {
    const absl::StatusOr<std::string> snapshot =
        EncodeSnapshot(*state, model_->snapshot);
    CHELA_RETURN_IF_ERROR(snapshot.status());
    result.state = model_->signer->Sign(*snapshot);
  }
  if (turn_.has_value()) {
    const absl::StatusOr<int64_t> revision = turn_->Commit(state, checkpoint_);
    turn_.reset();
    CHELA_RETURN_IF_ERROR(revision.status());
    revision_ = result.revision = *revision;
  }
  return result;
}

void GenerationTurn::Undo() {
  // The call's own line was written before.
  if (model_->sessions->UndoTurn(session_, *revision_)) {
    Log(spdlog::level::info, "turn taken back: its client was gone",
        {{"session", session_}, {"revision", *revision_}});
  }
  revision_.reset();
}

}  // namespace chela
