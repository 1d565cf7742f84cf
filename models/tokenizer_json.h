#ifndef CHELA_MODELS_TOKENIZER_JSON_H_
#define CHELA_MODELS_TOKENIZER_JSON_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "models/added_tokens.h"
#include "models/byte_pair_encoder.h"

namespace chela {

// What a tokenizer.json of the Hugging Face tokenizers library says, checked:
// byte-level BPE only. Read as untrusted bytes.
//
//   key             what may stand there
//   model           BPE: vocab, merges ("a b" or ["a", "b"]), ignore_merges;
//                   a token for every byte, so that nothing is unknown
//   pre_tokenizer   ByteLevel, or a Sequence of Splits (a Regex, "Isolated")
//                   that ends in ByteLevel
//   normalizer      null, NFC, or a Sequence of those
//   added_tokens    all their flags
//   decoder         ByteLevel
//   post_processor  null, ByteLevel, TemplateProcessing with at most one token
//                   in front, or a Sequence of those
//   truncation, padding   null
//
// What has no effect on ids or text when every byte has a token is accepted and
// ignored: unk_token, fuse_unk, byte_fallback, trim_offsets.
struct TokenizerJson {
  std::vector<std::string> tokens;  // of the vocabulary, by id; "": no token
  std::array<int32_t, 256> byte_ids = {};
  std::vector<BytePairEncoder::Merge> merges;  // by rank
  bool ignore_merges = false;  // a piece that is a token is that token
  std::vector<AddedToken> added_tokens;
  bool nfc = false;
  bool add_prefix_space = false;
  std::vector<std::string> patterns;  // as PreTokenizer::Create wants them
  // The token that the post-processor puts in front.
  std::optional<int32_t> front_token;

  // From the text of the file. INVALID_ARGUMENT, in one line, names the key,
  // what was found and what is wanted: for broken JSON; for what is not listed
  // above, since ids would differ from the library's; for ids that stand twice
  // or are outside [0, vocab_size); merges of unknown tokens; added tokens
  // whose id is not the one that the library would give them.
  static absl::StatusOr<TokenizerJson> Parse(std::string_view text,
                                             int32_t vocab_size);
};

}  // namespace chela

#endif  // CHELA_MODELS_TOKENIZER_JSON_H_
