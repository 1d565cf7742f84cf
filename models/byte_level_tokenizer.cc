#include "models/byte_level_tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/byte_alphabet.h"
#include "models/json_text.h"
#include "models/utf8.h"

namespace chela {
namespace {

AddedTokens Select(const std::vector<AddedToken>& tokens, bool normalized) {
  std::vector<AddedToken> selected;
  std::copy_if(
      tokens.begin(), tokens.end(), std::back_inserter(selected),
      [&](const AddedToken& token) { return token.normalized == normalized; });
  return AddedTokens(std::move(selected));
}

absl::Status CheckFrontToken(const TokenizerJson& file,
                             const ModelConfig& config) {
  if (!config.add_bos_token || !file.front_token.has_value() ||
      *file.front_token == config.bos_token_id) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("post_processor: puts token ", *file.front_token,
                   " in front; want bos_token_id of config.json, ",
                   config.bos_token_id, ", or \"add_bos_token\": false there"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> ByteLevelTokenizer::Create(
    std::string_view text, const ModelConfig& config) {
  absl::StatusOr<TokenizerJson> file =
      TokenizerJson::Parse(text, config.vocab_size);
  if (!file.ok()) return file.status();
  if (const absl::Status front = CheckFrontToken(*file, config); !front.ok()) {
    return front;
  }
  absl::StatusOr<PreTokenizer> pre_tokenizer =
      PreTokenizer::Create(file->patterns);
  if (!pre_tokenizer.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("pre_tokenizer: ", pre_tokenizer.status().message()));
  }
  std::unique_ptr<ByteLevelTokenizer> tokenizer(new ByteLevelTokenizer(
      config, *std::move(file), *std::move(pre_tokenizer)));
  for (const AddedToken& token : tokenizer->file_.added_tokens) {
    if (token.normalized && tokenizer->nfc_.has_value() &&
        tokenizer->nfc_->Normalize(token.content) != token.content) {
      return absl::InvalidArgumentError(
          absl::StrCat("added_tokens: ", Quoted(token.content),
                       " is not in NFC; want it so, or \"normalized\": false"));
    }
  }
  return tokenizer;
}

ByteLevelTokenizer::ByteLevelTokenizer(const ModelConfig& config,
                                       TokenizerJson file,
                                       PreTokenizer pre_tokenizer)
    : Tokenizer(config),
      file_(std::move(file)),
      pre_tokenizer_(std::move(pre_tokenizer)),
      encoder_(file_.byte_ids, file_.merges),
      raw_tokens_(Select(file_.added_tokens, /*normalized=*/false)),
      normalized_tokens_(Select(file_.added_tokens, /*normalized=*/true)) {
  if (file_.nfc) nfc_.emplace();
  FillTokens();
  file_.merges = {};  // The encoder has its own.
}

void ByteLevelTokenizer::FillTokens() {
  names_ = std::move(file_.tokens);
  bytes_.resize(names_.size());
  for (size_t id = 0; id < names_.size(); ++id) {
    std::optional<std::string> bytes = BytesOfToken(names_[id]);
    bytes_[id] = bytes.value_or(names_[id]);
    if (!bytes.has_value() || bytes->empty()) continue;
    const std::vector<int32_t> self = {static_cast<int32_t>(id)};
    if (file_.ignore_merges || encoder_.MergeAll(*bytes) == self) {
      encoder_.AddWord(*bytes, self[0]);
    }
  }
  for (const AddedToken& token : file_.added_tokens) {
    const auto id = static_cast<size_t>(token.id);
    if (id >= names_.size()) {
      names_.resize(id + 1);
      bytes_.resize(id + 1);
    }
    names_[id] = token.content;
    bytes_[id] = token.special ? "" : token.content;
  }
}

// Appends the ids of one text.
class ByteLevelTokenizer::TextEncoder {
 public:
  TextEncoder(const ByteLevelTokenizer& tokenizer, std::vector<int32_t>* ids)
      : tokenizer_(tokenizer), cutter_(tokenizer.pre_tokenizer_), ids_(*ids) {}

  void Append(std::string_view text, bool at_start) {
    while (!text.empty()) {
      const size_t valid = ValidUtf8Prefix(text);
      AppendValid(text.substr(0, valid), at_start);
      text.remove_prefix(valid);
      if (text.empty()) break;
      const size_t broken = NextUtf8(text).length;
      for (const char byte : text.substr(0, broken)) {
        ids_.push_back(tokenizer_.file_.byte_ids[static_cast<uint8_t>(byte)]);
      }
      text.remove_prefix(broken);
      at_start = false;
    }
  }

 private:
  void AppendValid(std::string_view text, bool at_start) {
    tokenizer_.raw_tokens_.Split(text, [&](AddedTokens::Span span) {
      if (span.token != nullptr) {
        ids_.push_back(span.token->id);
        return;
      }
      AppendText(text.substr(span.begin, span.end - span.begin),
                 at_start || span.begin > 0);
    });
  }

  // starts: begins a text or follows an added token.
  void AppendText(std::string_view text, bool starts) {
    std::string composed;
    if (tokenizer_.nfc_.has_value()) {
      composed = tokenizer_.nfc_->Normalize(text);
      text = composed;
    }
    tokenizer_.normalized_tokens_.Split(text, [&](AddedTokens::Span span) {
      if (span.token != nullptr) {
        ids_.push_back(span.token->id);
        return;
      }
      AppendPieces(text.substr(span.begin, span.end - span.begin),
                   starts || span.begin > 0);
    });
  }

  void AppendPieces(std::string_view text, bool starts) {
    std::string prefixed;
    if (starts && tokenizer_.file_.add_prefix_space && text[0] != ' ') {
      prefixed = absl::StrCat(" ", absl::string_view(text.data(), text.size()));
      text = prefixed;
    }
    cutter_.ForEachPiece(text, [&](std::string_view piece) {
      tokenizer_.encoder_.Append(piece, &ids_);
    });
  }

  const ByteLevelTokenizer& tokenizer_;
  PreTokenizer::Cutter cutter_;
  std::vector<int32_t>& ids_;
};

std::vector<int32_t> ByteLevelTokenizer::Encode(std::string_view text) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 4 + 16);
  TextEncoder(*this, &ids).Append(text, /*at_start=*/true);
  return ids;
}

std::vector<int32_t> ByteLevelTokenizer::EncodeContinuation(
    std::string_view text) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 4 + 16);
  TextEncoder(*this, &ids).Append(text, /*at_start=*/false);
  return ids;
}

std::string ByteLevelTokenizer::TokenBytes(int32_t id,
                                           bool /*at_start*/) const {
  const auto index = static_cast<size_t>(id);
  return index < bytes_.size() ? bytes_[index] : "";
}

std::string ByteLevelTokenizer::TokenName(int32_t id) const {
  const auto index = static_cast<size_t>(id);
  if (index < names_.size() && !names_[index].empty()) return names_[index];
  return absl::StrCat("<unused_", id, ">");
}

}  // namespace chela
