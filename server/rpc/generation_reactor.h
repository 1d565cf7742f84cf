#ifndef CHELA_SERVER_RPC_GENERATION_REACTOR_H_
#define CHELA_SERVER_RPC_GENERATION_REACTOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "chela/v1/generation.pb.h"
#include "kernels/status_macros.h"
#include "server/engine/token_stream.h"
#include "server/rpc/call_reactor.h"
#include "server/rpc/convert_session.h"
#include "server/rpc/generation_turn.h"

namespace chela {

// Submits a generation and cancels it with the call: what Generate and
// GenerateStream have in common.
//
// A turn of a session commits before the call's status is sent. If the client
// turns out to have been gone by then, the revision is taken back: a client
// that repeats a call that it saw no end of never finds its turn made twice.
template <typename Base>
class GenerationReactor : public CallReactor<Base> {
 public:
  void OnCancel() final {
    // gRPC also cancels at the deadline, which the engine sees by itself and
    // then counts as one.
    if (!this->call().DeadlinePassed()) stream_->Cancel();
  }

 protected:
  GenerationReactor(const RpcRuntime& runtime, const char* rpc,
                    grpc::CallbackServerContext* context)
      : CallReactor<Base>(runtime, rpc, context), context_(context) {}
  void OnEnded() final;

  // `prefix` stands before the paths of wrong fields.
  void StartGeneration(const v1::GenerateRequest& request,
                       const std::string& prefix);

  TokenStream& stream() { return *stream_; }
  uint64_t seed() const { return seed_; }
  // What stands before each choice's text.
  const std::string& echo() const { return echo_; }
  int32_t choices() const { return choices_; }
  // Adds a delta to a message that has a choice's fields.
  template <typename Message>
  void Append(const GenerationDelta& delta, Message* out) const;
  const Tokenizer& tokenizer() const { return *model_->convert.tokenizer; }
  // Notes what the log line says about the end; the call's status.
  absl::Status TakeEnd(const GenerationEnd& end);
  void NoteText(const std::string& text);

  // Whether the end's state is to be committed before the call ends.
  bool CommitsTurn(const absl::Status& status) const {
    return status.ok() && turn_.keeps_state();
  }
  // Commits it on a worker, then calls `done` there.
  using TurnResult = absl::StatusOr<GenerationTurn::Result>;
  void CommitTurn(const SequenceStatePtr& state,
                  std::function<void(const TurnResult&)> done);
  // The session is as it was before.
  void AbandonTurn() { turn_.Abandon(); }
  template <typename Message>
  static void Append(const GenerationTurn::Result& turn, Message* out);

 private:
  void Submit(const v1::GenerateRequest& request, const std::string& prefix);

  absl::Status Prepare(const v1::GenerateRequest& request,
                       const std::string& prefix, GenerateJob& job);

  grpc::CallbackServerContext* const context_;
  const std::shared_ptr<TokenStream> stream_ = std::make_shared<TokenStream>();
  GenerationTurn turn_;
  const ServedModel* model_ = nullptr;
  uint64_t seed_ = 0;
  bool logprobs_ = false;
  std::string echo_;
  int32_t choices_ = 1;
};

template <typename Base>
void GenerationReactor<Base>::StartGeneration(
    const v1::GenerateRequest& request, const std::string& prefix) {
  const absl::StatusOr<const ServedModel*> model = this->call().Model();
  if (!model.ok()) {
    this->Refuse(model.status());
    return;
  }
  model_ = *model;
  auto submit = [this, &request, prefix] { Submit(request, prefix); };
  if (GenerationTurn::Needed(request)) {
    this->RunOnWorker(submit);
  } else {
    this->RunBySize(InputBytes(request), submit);
  }
}

template <typename Base>
void GenerationReactor<Base>::Submit(const v1::GenerateRequest& request,
                                     const std::string& prefix) {
  GenerateJob job;
  if (const absl::Status status = Prepare(request, prefix, job); !status.ok()) {
    AbandonTurn();
    this->Refuse(status);
    return;
  }
  if (request.has_user()) this->call().Note("user", request.user());
  if (this->call().runtime().log_content && request.has_prompt()) {
    this->call().Note("prompt", request.prompt());
  }
  stream_->SetCallback(this->Notifier());
  const absl::Status submitted = model_->engine->Submit(std::move(job));
  if (submitted.ok()) return;
  AbandonTurn();
  this->FinishCall(submitted);
}

template <typename Base>
absl::Status GenerationReactor<Base>::Prepare(
    const v1::GenerateRequest& request, const std::string& prefix,
    GenerateJob& job) {
  if (request.has_session()) {
    // Else they come with the other wrong fields.
    FieldErrors errors(prefix);
    CheckTurn(request, errors);
    CHELA_RETURN_IF_ERROR(errors.ToStatus());
  }
  CHELA_RETURN_IF_ERROR(turn_.Begin(request, *model_));
  absl::StatusOr<GenerateJob> converted =
      ToGenerateJob(request, model_->convert, prefix, turn_.input());
  CHELA_RETURN_IF_ERROR(converted.status());
  job = *std::move(converted);
  absl::StatusOr<std::string> echo = ToEcho(request, job, tokenizer(), prefix);
  CHELA_RETURN_IF_ERROR(echo.status());
  echo_ = *std::move(echo);
  choices_ = job.choices;
  job.header = this->call().Header(job.header.priority);
  job.stream = stream_;
  seed_ = job.sampling.seed;
  logprobs_ = job.sampling.logprobs >= 0;
  if (request.has_session()) this->call().Note("session", request.session());
  return absl::OkStatus();
}

template <typename Base>
void GenerationReactor<Base>::CommitTurn(
    const SequenceStatePtr& state,
    std::function<void(const TurnResult&)> done) {
  this->call().runtime().workers->Submit(
      [this, self = this->shared_from_this(), state, done = std::move(done)] {
        const TurnResult result = turn_.Commit(state);
        if (result.ok() && result->revision.has_value()) {
          this->call().Note("revision", *result->revision);
        }
        done(result);
      });
}

template <typename Base>
template <typename Message>
void GenerationReactor<Base>::Append(const GenerationTurn::Result& turn,
                                     Message* out) {
  if (turn.revision.has_value()) out->set_revision(*turn.revision);
  if (turn.state.has_value()) out->set_state(*turn.state);
}

template <typename Base>
void GenerationReactor<Base>::OnEnded() {
  if (!turn_.committed() || !context_->IsCancelled()) return;
  this->call().runtime().workers->Submit(
      [this, self = this->shared_from_this()] { turn_.Undo(); });
}

template <typename Base>
template <typename Message>
void GenerationReactor<Base>::Append(const GenerationDelta& delta,
                                     Message* out) const {
  out->mutable_text()->append(delta.text);
  AppendTokens(delta.tokens, logprobs_, tokenizer(), out->mutable_tokens(),
               out->mutable_logprobs());
  if (delta.end.has_value()) ToProto(*delta.end, seed_, out->mutable_finish());
}

template <typename Base>
absl::Status GenerationReactor<Base>::TakeEnd(const GenerationEnd& end) {
  this->call().NoteUsage(end.usage);
  this->call().Note("finish_reason", Name(end.reason));
  if (!end.status.ok()) return end.status;
  switch (end.reason) {
    case FinishReason::kCancelled:
      return absl::CancelledError("the client cancelled");
    case FinishReason::kDeadline:
      return absl::DeadlineExceededError("the deadline passed");
    case FinishReason::kError:
      return absl::InternalError("the generation failed");
    case FinishReason::kStop:
    case FinishReason::kLength:
    case FinishReason::kEos:
      break;
  }
  return absl::OkStatus();
}

template <typename Base>
void GenerationReactor<Base>::NoteText(const std::string& text) {
  if (this->call().runtime().log_content) this->call().Note("text", text);
}

}  // namespace chela

#endif  // CHELA_SERVER_RPC_GENERATION_REACTOR_H_
