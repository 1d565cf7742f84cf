#include "models/tokenizer.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "models/byte_level_tokenizer.h"
#include "models/byte_tokenizer.h"
#include "models/json_text.h"
#include "models/sentencepiece_tokenizer.h"

namespace chela {
namespace {

// Far above any vocabulary; a larger file is no tokenizer.
constexpr size_t kMaxFileBytes = size_t{256} << 20;
// The JSON document takes some ten times its text.
constexpr size_t kMaxJsonBytes = size_t{64} << 20;

absl::Status CheckSpecial(absl::string_view key, int32_t id, int32_t vocab) {
  if (id >= 0 && id < vocab) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      key, ": ", id, "; want 0 to ", vocab - 1, " (vocab_size - 1)"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(
    const std::string& directory, const ModelConfig& config) {
  const int32_t vocab = config.vocab_size;
  for (const absl::Status& status :
       {CheckSpecial("bos_token_id", config.bos_token_id, vocab),
        CheckSpecial("eos_token_id", config.eos_token_id, vocab)}) {
    if (!status.ok()) return status;
  }
  if (config.bytes_tokenizer) return ByteTokenizer::Create(config);
  // A folder may have both files; SentencePiece's own is then the source.
  const std::string model = directory + "/tokenizer.model";
  const std::string json = directory + "/tokenizer.json";
  std::error_code error;
  const bool is_model = std::filesystem::exists(model, error);
  if (!is_model && !std::filesystem::exists(json, error)) {
    return absl::NotFoundError(absl::StrCat(
        model,
        ": no such file, and no tokenizer.json; want one of them (or "
        "\"tokenizer\": \"bytes\" in config.json)"));
  }
  const std::string& path = is_model ? model : json;
  absl::StatusOr<std::string> bytes =
      ReadTextFile(path, is_model ? kMaxFileBytes : kMaxJsonBytes);
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
      is_model ? SentencePieceTokenizer::Create(*bytes, config)
               : ByteLevelTokenizer::Create(*bytes, config);
  if (!tokenizer.ok()) {
    return absl::Status(tokenizer.status().code(),
                        absl::StrCat(path, ": ", tokenizer.status().message()));
  }
  return tokenizer;
}

std::vector<int32_t> Tokenizer::EncodePrompt(std::string_view text) const {
  std::vector<int32_t> ids = Encode(text);
  if (add_bos_) ids.insert(ids.begin(), bos_id_);
  return ids;
}

absl::StatusOr<std::string> Tokenizer::Decode(
    const std::vector<int32_t>& ids) const {
  std::string text;
  bool at_start = true;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size_) {
      return absl::InvalidArgumentError(
          absl::StrCat("token ", i, ": ", ids[i], "; want 0 to ",
                       vocab_size_ - 1, " (vocab_size - 1)"));
    }
    text += TokenBytes(ids[i], at_start);
    // A BOS in front has no text, and the dummy prefix comes behind it.
    at_start = at_start && TokenBytes(ids[i], /*at_start=*/false).empty();
  }
  return text;
}

}  // namespace chela
