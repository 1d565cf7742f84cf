#ifndef CHELA_MODELS_SENTENCEPIECE_FILE_H_
#define CHELA_MODELS_SENTENCEPIECE_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace chela {

// The parts of a tokenizer.model that decide how text becomes ids and back,
// checked. A tokenizer.model is a serialised protocol buffer, ModelProto of
// the SentencePiece library, whose C++ class is not public; it is read here
// field by field, as untrusted bytes.
struct SentencePieceFile {
  enum class PieceType {  // The numbers are the file's.
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6,
  };
  struct Piece {
    std::string text;  // a space is written U+2581
    PieceType type = PieceType::kNormal;
    bool has_surface() const {  // stands for its own text
      return type == PieceType::kNormal || type == PieceType::kUserDefined ||
             type == PieceType::kUnused;
    }
  };

  std::vector<Piece> pieces;  // by id
  bool byte_fallback = false;
  bool add_dummy_prefix = true;
  std::string unknown_surface = " \xE2\x81\x87 ";

  // The model for the library, less everything that would change text before
  // it is encoded: pieces and trainer settings as they are, no normalisation,
  // no dummy prefix.
  std::string library_model;

  // From the bytes of a tokenizer.model. INVALID_ARGUMENT says what is wrong:
  // bytes that are no ModelProto; a model that is neither unigram nor BPE; a
  // model that rewrites its text (normalisation, extra whitespace removed,
  // spaces not escaped or moved to the end), since a server must give back
  // what it was given; a piece that is empty, no UTF-8, or holds a space or a
  // NUL; byte fallback without 256 byte pieces; a score that is not finite.
  static absl::StatusOr<SentencePieceFile> Parse(std::string_view bytes);
};

// U+2581, which stands for a space in the text of pieces.
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

// The byte of "<0x0A>", or -1 if `piece` is not written like that.
int ByteOfPiece(std::string_view piece);

}  // namespace chela

#endif  // CHELA_MODELS_SENTENCEPIECE_FILE_H_
