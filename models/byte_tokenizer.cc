#include "models/byte_tokenizer.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace chela {
namespace {

constexpr int32_t kBytes = 256;

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> ByteTokenizer::Create(
    const ModelConfig& config) {
  if (config.vocab_size < kBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("vocab_size: ", config.vocab_size,
                     "; want at least 256 for \"tokenizer\": \"bytes\""));
  }
  return std::unique_ptr<Tokenizer>(new ByteTokenizer(config));
}

std::vector<int32_t> ByteTokenizer::Encode(std::string_view text) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size());
  for (const char byte : text) ids.push_back(static_cast<uint8_t>(byte));
  return ids;
}

std::vector<int32_t> ByteTokenizer::EncodeContinuation(
    std::string_view text) const {
  return Encode(text);
}

size_t ByteTokenizer::StablePrefix(std::string_view text) const {
  return text.size();
}

std::string ByteTokenizer::TokenBytes(int32_t id, bool /*at_start*/) const {
  return id < kBytes ? std::string(1, static_cast<char>(id)) : std::string();
}

std::string ByteTokenizer::TokenName(int32_t id) const {
  if (id > ' ' && id <= '~') return std::string(1, static_cast<char>(id));
  if (id < kBytes) return absl::StrFormat("<0x%02X>", id);
  if (id == bos_id()) return "<bos>";
  if (id == eos_id()) return "<eos>";
  return absl::StrCat("<special_", id, ">");
}

}  // namespace chela
