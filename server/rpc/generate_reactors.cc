#include "server/rpc/generate_reactors.h"

#include <optional>

namespace chela {

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

}  // namespace chela
