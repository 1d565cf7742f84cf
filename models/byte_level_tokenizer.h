#ifndef CHELA_MODELS_BYTE_LEVEL_TOKENIZER_H_
#define CHELA_MODELS_BYTE_LEVEL_TOKENIZER_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/added_tokens.h"
#include "models/byte_pair_encoder.h"
#include "models/pre_tokenizer.h"
#include "models/tokenizer.h"
#include "models/tokenizer_json.h"
#include "models/unicode_text.h"

namespace chela {

// A tokenizer.json of byte-level BPE (models/tokenizer_json.h says which).
//
// The ids are those of the Hugging Face tokenizers library, with these
// exceptions:
// - broken UTF-8, which that library does not take, becomes the tokens of its
//   single bytes, and the text behind it is encoded as a continuation;
// - a run of 1 MiB without a place to cut is cut (PreTokenizer);
// - characters newer than the Unicode of Debian's PCRE2 (14) and utf8proc (15)
//   are cut and composed as unassigned ones.
//
// Added tokens are found in any text, special ones too, as in that library:
// "<|endoftext|>" in a prompt is that token. BOS is the business of
// config.json's add_bos_token, not of the file's post-processor.
//
// Every text decodes to itself, but for what the file asks to change: NFC,
// white space that added tokens take along (lstrip, rstrip), the space that
// add_prefix_space puts in front, and special tokens, which stand for no text.
class ByteLevelTokenizer : public Tokenizer {
 public:
  // From the text of a tokenizer.json. INVALID_ARGUMENT as TokenizerJson::Parse
  // and PreTokenizer::Create, and if the post-processor's token in front is not
  // config.bos_token_id although the config adds BOS.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(
      std::string_view text, const ModelConfig& config);

  std::string kind() const override { return "byte_level_bpe"; }
  std::vector<int32_t> Encode(std::string_view text) const override;
  std::vector<int32_t> EncodeContinuation(std::string_view text) const override;
  // The last end of a piece or an added token that neither what follows nor a
  // fresh start behind it can move.
  size_t StablePrefix(std::string_view text) const override;
  std::string TokenBytes(int32_t id, bool at_start) const override;
  // As in the file ("Ġthe", "<|endoftext|>"); "<unused_8190>" for padding.
  std::string TokenName(int32_t id) const override;

 private:
  class TextEncoder;
  class StableEnd;

  ByteLevelTokenizer(const ModelConfig& config, TokenizerJson file,
                     PreTokenizer pre_tokenizer);
  void FillTokens();

  TokenizerJson file_;
  PreTokenizer pre_tokenizer_;
  BytePairEncoder encoder_;
  AddedTokens raw_tokens_;         // found in the text as it is
  AddedTokens normalized_tokens_;  // found after normalisation
  std::optional<NfcNormalizer> nfc_;
  std::vector<std::string> names_;  // by id
  std::vector<std::string> bytes_;  // by id
};

}  // namespace chela

#endif  // CHELA_MODELS_BYTE_LEVEL_TOKENIZER_H_
