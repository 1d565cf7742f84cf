#include "server/rpc/generate_reactors.h"

#include <iterator>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/status_macros.h"
#include "models/utf8.h"

namespace chela {
namespace {

// Moves the first `count` out of `from`.
std::vector<SampledToken> TakeFirst(std::vector<SampledToken>& from,
                                    size_t count) {
  if (from.size() <= count) return std::exchange(from, {});
  const auto end = from.begin() + static_cast<std::ptrdiff_t>(count);
  std::vector<SampledToken> taken(std::make_move_iterator(from.begin()),
                                  std::make_move_iterator(end));
  from.erase(from.begin(), end);
  return taken;
}

}  // namespace

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

GenerateReactor::GenerateReactor(const RpcRuntime& runtime,
                                 grpc::CallbackServerContext* context,
                                 const v1::GenerateRequest* request,
                                 v1::GenerateResponse* response)
    : GenerationReactor(runtime, "generate", context),
      request_(request),
      response_(response) {}

void GenerateReactor::Start() { StartGeneration(*request_, ""); }

void GenerateReactor::Deliver() {
  if (finished() || ended_) return;
  for (;;) {
    const GenerationDelta delta = stream().Pop();
    if (delta.empty()) break;
    Take(delta);
  }
  const std::optional<GenerationEnd> end = stream().End();
  if (!end.has_value()) return;
  ended_ = true;
  Complete(*end);
  NoteText(response_->text());
  const absl::Status status = TakeEnd(*end);
  if (!CommitsTurn(status)) {
    AbandonTurn();
    FinishCall(status);
    return;
  }
  CommitTurn(end->state, [this](const TurnResult& turn) {
    if (turn.ok()) Append(*turn, response_);
    FinishCall(turn.status());
  });
}

void GenerateReactor::Take(const GenerationDelta& delta) {
  AppendLogprobs(delta.prompt, tokenizer(),
                 response_->mutable_prompt_logprobs());
  if (choices() == 1) {
    if (response_->text().empty()) response_->set_text(echo());
    Append(delta, response_);
    return;
  }
  while (response_->choices_size() < choices()) {
    response_->add_choices()->set_text(echo());
  }
  Append(delta, response_->mutable_choices(delta.choice));
}

void GenerateReactor::Complete(const GenerationEnd& end) {
  if (response_->choices_size() > 0) {
    ToProto(end, seed(),
            response_->mutable_choices(end.choice)->mutable_finish());
    const v1::Choice& first = response_->choices(0);
    response_->set_text(first.text());
    *response_->mutable_tokens() = first.tokens();
    *response_->mutable_logprobs() = first.logprobs();
    *response_->mutable_finish() = first.finish();
  } else {
    ToProto(end, seed(), response_->mutable_finish());
  }
  ToProto(end.usage, response_->mutable_finish()->mutable_usage());
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
  // Another choice's news go out by themselves.
  if (end.has_value() && !delta.empty() &&
      (delta.choice != end->choice || delta.end.has_value())) {
    end.reset();
  }
  if (delta.empty() && !end.has_value()) return;
  response_.Clear();
  response_.set_choice(delta.empty() ? end->choice : delta.choice);
  Append(delta, &response_);
  AppendLogprobs(delta.prompt, tokenizer(),
                 response_.mutable_prompt_logprobs());
  if (call().runtime().log_content) text_ += delta.text;
  if (end.has_value()) {
    FinishStream(*end);
  } else if (!broken_) {
    writing_ = true;
    StartWrite(&response_);
  }
}

// Under mutex_. All text goes with the first part of the tokens behind it, the
// choice's end with the last one.
GenerationDelta GenerateStreamReactor::NextDelta() {
  if (broken_) {  // Nobody reads it, but the end comes after all of it.
    rest_ = {};
    while (!stream().Pop().empty()) {
    }
    return {};
  }
  if (rest_.empty()) rest_ = stream().Pop();
  if (rest_.empty()) return {};
  GenerationDelta delta = NextEcho(rest_.choice);
  if (!delta.empty()) return delta;
  delta.choice = rest_.choice;
  delta.prompt = TakeFirst(rest_.prompt, kMaxTokensOfMessage);
  if (!rest_.prompt.empty()) return delta;
  delta.text = std::exchange(rest_.text, {});
  delta.tokens =
      TakeFirst(rest_.tokens, kMaxTokensOfMessage - delta.prompt.size());
  if (rest_.tokens.empty()) {
    delta.end = std::move(rest_.end);
    rest_ = {};
  }
  return delta;
}

// Under mutex_. The next piece of the prompt that stands before the choice.
GenerationDelta GenerateStreamReactor::NextEcho(int32_t choice) {
  echoed_.resize(static_cast<size_t>(choices()), 0);
  size_t& sent = echoed_[static_cast<size_t>(choice)];
  GenerationDelta delta;
  delta.choice = choice;
  const std::string_view left = std::string_view(echo()).substr(sent);
  // Valid UTF-8, so that only the cut may split a character.
  const std::string_view piece = left.substr(0, kMaxEchoOfMessage);
  delta.text = piece.substr(0, CompleteUtf8Prefix(piece));
  sent += delta.text.size();
  return delta;
}

// Under mutex_. The last message goes out with the status, in one operation; a
// stream that failed or lost its client ends without one.
void GenerateStreamReactor::FinishStream(const GenerationEnd& end) {
  NoteText(text_);
  const absl::Status status = TakeEnd(end);
  const bool gone = broken_ || finished();
  if (gone || !CommitsTurn(status)) AbandonTurn();
  if (gone || (!status.ok() && end.reason != FinishReason::kDeadline)) {
    FinishCall(status);
    return;
  }
  ToProto(end, seed(), response_.mutable_finish());
  ToProto(end.usage, response_.mutable_finish()->mutable_usage());
  if (!CommitsTurn(status)) {
    SendLast(status);
    return;
  }
  writing_ = true;  // nothing else goes out meanwhile
  CommitTurn(end.state, [this](const TurnResult& turn) {
    std::lock_guard lock(mutex_);
    if (!turn.ok()) {
      FinishCall(turn.status());
      return;
    }
    Append(*turn, &response_);
    SendLast(absl::OkStatus());
  });
}

// Under mutex_.
void GenerateStreamReactor::SendLast(const absl::Status& status) {
  if (!ClaimFinish()) return;
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
