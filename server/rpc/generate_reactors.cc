#include "server/rpc/generate_reactors.h"

#include <iterator>
#include <optional>
#include <utility>
#include <vector>

namespace chela {

template <typename Base>
void GenerationReactor<Base>::StartGeneration(
    const v1::GenerateRequest& request, const std::string& prefix) {
  const absl::StatusOr<const ServedModel*> model = this->call().Model();
  if (!model.ok()) {
    this->Refuse(model.status());
    return;
  }
  model_ = *model;
  this->RunBySize(InputBytes(request),
                  [this, &request, prefix] { Submit(request, prefix); });
}

template <typename Base>
void GenerationReactor<Base>::Submit(const v1::GenerateRequest& request,
                                     const std::string& prefix) {
  absl::StatusOr<GenerateJob> job =
      ToGenerateJob(request, model_->convert, prefix);
  if (!job.ok()) {
    this->Refuse(job.status());
    return;
  }
  job->header = this->call().Header(job->header.priority);
  job->stream = stream_;
  seed_ = job->sampling.seed;
  logprobs_ = job->sampling.logprobs >= 0;
  if (request.has_user()) this->call().Note("user", request.user());
  if (this->call().runtime().log_content && request.has_prompt()) {
    this->call().Note("prompt", request.prompt());
  }
  stream_->SetCallback(this->Notifier());
  const absl::Status submitted = model_->engine->Submit(*std::move(job));
  if (!submitted.ok()) this->FinishCall(submitted);
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

GenerateReactor::GenerateReactor(const RpcRuntime& runtime,
                                 grpc::CallbackServerContext* context,
                                 const v1::GenerateRequest* request,
                                 v1::GenerateResponse* response)
    : GenerationReactor(runtime, "generate", context),
      request_(request),
      response_(response) {}

void GenerateReactor::Start() { StartGeneration(*request_, ""); }

void GenerateReactor::Deliver() {
  if (finished()) return;
  const GenerationDelta delta = stream().Pop();
  response_->mutable_text()->append(delta.text);
  AppendTokens(delta.tokens, logprobs(), tokenizer(),
               response_->mutable_tokens(), response_->mutable_logprobs());
  const std::optional<GenerationEnd> end = stream().End();
  if (!end.has_value()) return;
  ToProto(*end, seed(), response_->mutable_finish());
  NoteText(response_->text());
  FinishCall(TakeEnd(*end));
}

GenerateStreamReactor::GenerateStreamReactor(
    const RpcRuntime& runtime, grpc::CallbackServerContext* context,
    const v1::GenerateStreamRequest* request)
    : GenerationReactor(runtime, "generate_stream", context),
      request_(request) {}

void GenerateStreamReactor::Start() {
  StartGeneration(request_->request(), "request.");
}

void GenerateStreamReactor::Deliver() {
  std::lock_guard lock(mutex_);
  if (writing_ || finished()) return;
  const GenerationDelta delta = NextDelta();
  std::optional<GenerationEnd> end;
  if (rest_.empty()) end = stream().End();
  if (delta.empty() && !end.has_value()) return;
  response_.Clear();
  response_.set_text(delta.text);
  AppendTokens(delta.tokens, logprobs(), tokenizer(),
               response_.mutable_tokens(), response_.mutable_logprobs());
  if (call().runtime().log_content) text_ += delta.text;
  if (end.has_value()) {
    FinishStream(*end);
  } else if (!broken_) {
    writing_ = true;
    StartWrite(&response_);
  }
}

// Under mutex_. All text goes with the first part of the tokens behind it.
GenerationDelta GenerateStreamReactor::NextDelta() {
  if (rest_.empty()) rest_ = stream().Pop();
  std::vector<SampledToken>& tokens = rest_.tokens;
  if (broken_ || tokens.size() <= kMaxTokensOfMessage) {
    return std::exchange(rest_, {});
  }
  const auto end = tokens.begin() + kMaxTokensOfMessage;
  GenerationDelta delta;
  delta.text = std::exchange(rest_.text, {});
  delta.tokens.assign(std::make_move_iterator(tokens.begin()),
                      std::make_move_iterator(end));
  tokens.erase(tokens.begin(), end);
  return delta;
}

// Under mutex_. The last message goes out with the status, in one operation; a
// stream that failed or lost its client ends without one.
void GenerateStreamReactor::FinishStream(const GenerationEnd& end) {
  NoteText(text_);
  const absl::Status status = TakeEnd(end);
  if (broken_ || (!status.ok() && end.reason != FinishReason::kDeadline)) {
    FinishCall(status);
    return;
  }
  if (!ClaimFinish()) return;
  ToProto(end, seed(), response_.mutable_finish());
  StartWriteAndFinish(&response_, grpc::WriteOptions(), call().End(status));
}

void GenerateStreamReactor::OnWriteDone(bool ok) {
  {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) broken_ = true;
  }
  if (!ok && !call().DeadlinePassed()) stream().Cancel();
  Deliver();
}

}  // namespace chela
