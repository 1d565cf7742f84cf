#include "server/rpc/score_reactors.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/rpc/raw_message.h"

namespace chela {
namespace {

// Answers of more tokens are put together on a worker.
constexpr size_t kInlineAnswerTokens = 2048;

// The longest run of text without a place where a token must end that is held
// in memory; no writing comes near it.
constexpr size_t kMaxCarryBytes = size_t{4} << 20;

}  // namespace

ScoreReactor::ScoreReactor(const RpcRuntime& runtime,
                           grpc::CallbackServerContext* context,
                           const v1::ScoreRequest* request,
                           v1::ScoreResponse* response)
    : CallReactor(runtime, "score", context),
      request_(request),
      response_(response) {}

void ScoreReactor::Start() {
  const absl::StatusOr<const ServedModel*> model = call().Model();
  if (!model.ok()) {
    Refuse(model.status());
    return;
  }
  model_ = *model;
  RunBySize(InputBytes(*request_), [this] { Submit(); });
}

void ScoreReactor::Submit() {
  absl::StatusOr<ScoreTokens> tokens =
      ToScoreTokens(*request_, model_->convert);
  if (!tokens.ok()) {
    Refuse(tokens.status());
    return;
  }
  auto stream = std::make_shared<ScoreStream>(std::move(tokens->prefix),
                                              std::move(tokens->continuations));
  stream->SetCallback(Notifier());
  {
    std::lock_guard lock(mutex_);
    stream_ = stream;
    if (cancelled_) stream->Cancel();
  }
  const absl::Status submitted = model_->engine->Submit(
      ScoreJob{.header = call().Header(tokens->priority),
               .cache_salt = std::move(tokens->cache_salt),
               .stream = stream});
  if (!submitted.ok()) FinishCall(submitted);
}

void ScoreReactor::OnCancel() {
  std::lock_guard lock(mutex_);
  cancelled_ = true;
  if (stream_ != nullptr) stream_->Cancel();
}

void ScoreReactor::Deliver() {
  std::optional<ScoreStream::End> end = stream_->Result();
  if (!end.has_value()) return;
  {
    std::lock_guard lock(mutex_);
    if (answering_) return;
    answering_ = true;
  }
  size_t tokens = 0;
  for (const std::vector<float>& one : end->continuations) tokens += one.size();
  if (tokens <= kInlineAnswerTokens) {
    Answer(*end);
    return;
  }
  call().runtime().workers->Submit([this, self = shared_from_this(),
                                    end = *std::move(end)] { Answer(end); });
}

void ScoreReactor::Answer(const ScoreStream::End& end) {
  call().NoteUsage(end.usage);
  call().Note("scored_tokens", end.totals.scored_tokens);
  if (end.status.ok()) {
    ToProto(*stream_, end, *model_->convert.tokenizer, response_);
  }
  FinishCall(end.status);
}

ScoreStreamReactor::ScoreStreamReactor(const RpcRuntime& runtime,
                                       grpc::CallbackServerContext* context,
                                       grpc::ByteBuffer* response)
    : CallReactor(runtime, "score_stream", context),
      context_(context),
      response_(response) {}

void ScoreStreamReactor::Start() {
  const absl::StatusOr<const ServedModel*> model = call().Model();
  if (!model.ok()) {
    Refuse(model.status());
    return;
  }
  model_ = *model;
  stream_->SetCallback(Notifier());
  StartRead(&piece_);
}

void ScoreStreamReactor::OnReadDone(bool ok) {
  if (finished()) return;
  if (!ok && context_->IsCancelled()) {
    stream_->Cancel();
    if (!submitted_) Abandon(absl::CancelledError("the client cancelled"));
    return;
  }
  const auto bytes = static_cast<int64_t>(piece_.Length() + carry_.size());
  auto take = [this, ok] { TakePiece(/*last=*/!ok); };
  if (submitted_ && bytes > kInlineInputBytes) {
    // Let in before: a full queue must not end it now.
    call().runtime().workers->Submit(
        [self = shared_from_this(), take] { take(); });
  } else {
    RunBySize(bytes, take);
  }
}

void ScoreStreamReactor::TakePiece(bool last) {
  v1::ScoreStreamRequest piece;
  if (!last && !Decode(piece_, piece)) {
    Abandon(absl::InvalidArgumentError(
        "a message of the stream cannot be decoded; want a protobuf "
        "ScoreStreamRequest"));
    return;
  }
  piece_.Clear();
  bytes_ += static_cast<int64_t>(piece.text().size());
  carry_ += piece.text();
  std::vector<int32_t> tokens = TakeTokens(last);
  if (carry_.size() > kMaxCarryBytes) {
    Abandon(absl::InvalidArgumentError(
        absl::StrCat("text: ", carry_.size(),
                     " bytes without a place to split; want at "
                     "most ",
                     kMaxCarryBytes)));
    return;
  }
  if (last && !started_) {  // An empty text has nothing to score.
    std::lock_guard lock(mutex_);
    if (!finished()) Answer({});
    return;
  }
  if (!tokens.empty()) {
    if (const absl::Status status = SubmitOnce(); !status.ok()) {
      FinishCall(status);
      return;
    }
    stream_->Append(std::move(tokens));
  }
  if (last) {
    stream_->Finish();
  } else {
    ReadOn();
  }
}

void ScoreStreamReactor::Abandon(const absl::Status& status) {
  {
    std::lock_guard lock(mutex_);
    if (finished()) return;
    if (absl::IsCancelled(status)) {
      FinishCall(status);
    } else {
      Refuse(status);
    }
  }
  stream_->Cancel();
}

// The tokens of what can be tokenised without knowing what follows: all of
// carry_ at the end, before it up to a place where every continuation splits.
std::vector<int32_t> ScoreStreamReactor::TakeTokens(bool last) {
  const Tokenizer& tokenizer = *model_->convert.tokenizer;
  size_t length = carry_.size();
  if (!last) {
    // Without one so far, the next look is at twice the bytes: linear in all.
    if (carry_.size() < look_again_at_) return {};
    length = tokenizer.StablePrefix(carry_);
    look_again_at_ = length == 0 ? 2 * carry_.size() : 0;
  }
  if (length == 0) return {};
  const std::string_view text(carry_.data(), length);
  std::vector<int32_t> tokens = started_ ? tokenizer.EncodeContinuation(text)
                                         : tokenizer.EncodePrompt(text);
  started_ = true;
  carry_.erase(0, length);
  return tokens;
}

absl::Status ScoreStreamReactor::SubmitOnce() {
  if (submitted_) return absl::OkStatus();
  submitted_ = true;
  return model_->engine->Submit(ScoreJob{
      .header = call().Header(0), .cache_salt = {}, .stream = stream_});
}

void ScoreStreamReactor::ReadOn() {
  std::lock_guard lock(mutex_);
  if (finished()) return;
  if (stream_->backlog() < ScoreStream::kBacklogTokens) {
    StartRead(&piece_);
    return;
  }
  paused_ = true;
}

void ScoreStreamReactor::Deliver() {
  const std::optional<ScoreStream::End> end = stream_->Result();
  std::lock_guard lock(mutex_);
  if (finished()) return;
  if (!end.has_value()) {
    if (paused_ && stream_->backlog() < ScoreStream::kBacklogTokens / 2) {
      paused_ = false;
      StartRead(&piece_);
    }
    return;
  }
  Answer(*end);
}

// Under mutex_, and the call is not finished.
void ScoreStreamReactor::Answer(const ScoreStream::End& end) {
  const int64_t bytes = bytes_;
  call().NoteUsage(end.usage);
  call().Note("bytes", bytes);
  call().Note("scored_tokens", end.totals.scored_tokens);
  const int64_t bos = model_->convert.tokenizer->add_bos() ? 1 : 0;
  v1::ScoreStreamResponse response;
  response.set_bytes(bytes);
  response.set_tokens(std::max<int64_t>(end.totals.tokens - bos, 0));
  response.set_scored_tokens(end.totals.scored_tokens);
  response.set_log_probability(end.totals.log_probability);
  ToProto(end.usage, response.mutable_usage());
  *response_ = Encode(response);
  FinishCall(end.status);
}

void ScoreStreamReactor::OnCancel() { stream_->Cancel(); }

}  // namespace chela
