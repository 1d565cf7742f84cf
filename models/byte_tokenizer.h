#ifndef CHELA_MODELS_BYTE_TOKENIZER_H_
#define CHELA_MODELS_BYTE_TOKENIZER_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizer.h"

namespace chela {

// "tokenizer": "bytes": token i < 256 is byte i; ids from 256 are specials and
// stand for no text. Every text round trips, and every prefix is stable.
class ByteTokenizer : public Tokenizer {
 public:
  // INVALID_ARGUMENT if the vocabulary has no room for 256 bytes.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(
      const ModelConfig& config);

  std::string kind() const override { return "bytes"; }
  std::vector<int32_t> Encode(std::string_view text) const override;
  std::vector<int32_t> EncodeContinuation(std::string_view text) const override;
  size_t StablePrefix(std::string_view text) const override;
  std::string TokenBytes(int32_t id, bool at_start) const override;
  // The character itself if it is printable ASCII, else "<0x0A>"; "<bos>",
  // "<eos>", "<special_257>".
  std::string TokenName(int32_t id) const override;

 private:
  using Tokenizer::Tokenizer;
};

}  // namespace chela

#endif  // CHELA_MODELS_BYTE_TOKENIZER_H_
