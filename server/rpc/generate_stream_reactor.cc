#include <iterator>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "models/utf8.h"
#include "server/rpc/generate_reactors.h"

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
