#ifndef CHELA_MODELS_SENTENCEPIECE_TOKENIZER_H_
#define CHELA_MODELS_SENTENCEPIECE_TOKENIZER_H_

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "models/sentencepiece_file.h"
#include "models/sentencepiece_library.h"
#include "models/tokenizer.h"
#include "models/unit_splitter.h"

namespace chela {

// A SentencePiece model, unigram or BPE, that does not rewrite its text.
//
// Text is encoded unit by unit (models/unit_splitter.h). The ids are those of
// the SentencePiece library for the whole text, with these exceptions:
// - broken UTF-8 and NUL become byte pieces, byte by byte, and U+2581 itself
//   too, where the library puts U+FFFD or a space: with byte fallback every
//   text, any bytes, decodes to itself;
// - without byte fallback a maximal broken sequence or a NUL becomes one
//   unknown token;
// - a run of 64 KiB without a place to cut is cut (no such text is prose);
// - the library sums a unigram path's score in float32 over the whole text, so
//   that far into a long text it picks between nearly equal paths by rounding;
//   here the sum starts anew with each unit.
//
// An unknown token decodes to the model's unk_surface (" U+2047 "), as in the
// library; control pieces and the ids beyond the last piece (a vocabulary
// padded to a round number) to nothing. Text that spells a control piece
// ("</s>") is text.
class SentencePieceTokenizer : public Tokenizer {
 public:
  // From the bytes of a tokenizer.model. INVALID_ARGUMENT as
  // SentencePieceFile::Parse, if the library refuses it, or if it has more
  // pieces than config.vocab_size (fewer is padding).
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(
      std::string_view bytes, const ModelConfig& config);

  std::string kind() const override { return "sentencepiece"; }
  std::vector<int32_t> Encode(std::string_view text) const override;
  std::vector<int32_t> EncodeContinuation(std::string_view text) const override;
  // The start of the last unit, unless nothing can be added to that.
  size_t StablePrefix(std::string_view text) const override;
  std::string TokenBytes(int32_t id, bool at_start) const override;
  // The piece; "<unused_8190>" for padding.
  std::string TokenName(int32_t id) const override;

 private:
  // Ids that lie next to each other in some vector.
  struct Range {
    size_t begin = 0;
    size_t size = 0;
  };
  class UnitEncoder;

  SentencePieceTokenizer(const ModelConfig& config, SentencePieceFile file,
                         std::unique_ptr<SentencePieceLibrary> library);
  void FillSurfaces();
  void FillUnits();
  std::vector<int32_t> EncodeText(std::string_view text, bool at_start) const;
  // The ids of one unit by the library; byte pieces if it fails.
  void EncodeUnit(std::string_view unit, std::vector<int32_t>* ids) const;
  void EncodeRaw(std::string_view bytes, std::vector<int32_t>* ids) const;

  SentencePieceFile file_;
  std::unique_ptr<SentencePieceLibrary> library_;
  UnitSplitter splitter_;
  std::vector<std::string> surfaces_;  // by id
  std::array<int32_t, 256> byte_ids_ = {};
  // What the library makes of each piece that is a unit by itself: most words
  // of most texts.
  absl::flat_hash_map<std::string, Range> units_;
  std::vector<int32_t> unit_ids_;
};

}  // namespace chela

#endif  // CHELA_MODELS_SENTENCEPIECE_TOKENIZER_H_
