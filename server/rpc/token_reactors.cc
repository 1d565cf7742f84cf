#include "server/rpc/token_reactors.h"

#include <string>
#include <utility>
#include <vector>

#include "models/text_stream.h"
#include "server/rpc/convert.h"

namespace chela {

void TokenizeReactor::Start() {
  const absl::StatusOr<const ServedModel*> model = call().Model();
  if (!model.ok()) {
    Refuse(model.status());
    return;
  }
  const Tokenizer& tokenizer = *(*model)->convert.tokenizer;
  RunBySize(static_cast<int64_t>(request_->text().size()),
            [this, &tokenizer] { Answer(tokenizer); });
}

void TokenizeReactor::Answer(const Tokenizer& tokenizer) {
  const bool add_bos =
      request_->has_add_bos() ? request_->add_bos() : tokenizer.add_bos();
  std::vector<int32_t> tokens;
  if (add_bos) tokens.push_back(tokenizer.bos_id());
  for (const int32_t id : tokenizer.Encode(request_->text())) {
    tokens.push_back(id);
  }
  response_->mutable_pieces()->Reserve(static_cast<int>(tokens.size()));
  for (const int32_t id : tokens) {
    // A piece of a user's model may be any bytes; a string field may not.
    response_->add_pieces(ToValidUtf8(tokenizer.TokenName(id)));
  }
  response_->mutable_tokens()->mutable_ids()->Add(tokens.begin(), tokens.end());
  FinishCall(absl::OkStatus());
}

void DetokenizeReactor::Start() {
  const absl::StatusOr<const ServedModel*> model = call().Model();
  if (!model.ok()) {
    Refuse(model.status());
    return;
  }
  const Tokenizer& tokenizer = *(*model)->convert.tokenizer;
  RunBySize(int64_t{4} * request_->tokens().ids_size(),
            [this, &tokenizer] { Answer(tokenizer); });
}

void DetokenizeReactor::Answer(const Tokenizer& tokenizer) {
  const absl::StatusOr<std::vector<int32_t>> ids =
      ToTokens(request_->tokens(), tokenizer, "tokens");
  if (!ids.ok()) {
    Refuse(ids.status());
    return;
  }
  absl::StatusOr<std::string> bytes = tokenizer.Decode(*ids);
  if (!bytes.ok()) {
    FinishCall(bytes.status());
    return;
  }
  response_->set_text(ToValidUtf8(*bytes));
  response_->set_bytes(*std::move(bytes));
  FinishCall(absl::OkStatus());
}

}  // namespace chela
