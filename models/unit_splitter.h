#ifndef CHELA_MODELS_UNIT_SPLITTER_H_
#define CHELA_MODELS_UNIT_SPLITTER_H_

#include <bitset>
#include <cstddef>
#include <string_view>

#include "absl/container/flat_hash_set.h"

namespace chela {

// Cuts text into units that SentencePiece encodes independently, from the
// vocabulary alone. A piece covers two neighbouring characters only if that
// pair occurs in some piece; so between two characters whose pair occurs in
// none, neither a best path (unigram) nor a merge (BPE) can cross, and
//   encode(text) = concatenation of encode(unit) over the units.
// Whether there is a cut depends on the two characters beside it, so text can
// be encoded as it comes in, in linear time, with the same ids.
//
// What has no character is a unit by itself, encoded byte by byte ("raw"):
// broken UTF-8, NUL, and U+2581 itself when the vocabulary has byte pieces
// (SentencePiece would take it for a space). A run without a cut longer than
// kMaxBytes is cut there, at a character, counted from its start: it bounds
// the memory of the library (some 100 bytes per byte of a unit).
//
// Immutable once the pieces are in, then thread-safe.
class UnitSplitter {
 public:
  static constexpr size_t kMaxBytes = 65536;

  // byte_fallback: whether characters that no piece has become byte pieces. If
  // not, neighbours among them become one unknown token, and belong together.
  explicit UnitSplitter(bool byte_fallback) : byte_fallback_(byte_fallback) {}

  // Notes the pairs of a piece, valid UTF-8, U+2581 standing for a space.
  void AddPiece(std::string_view piece);

  struct Unit {
    size_t size_bytes = 0;
    bool raw = false;
    bool open = false;  // ends with the text, and might go on with more of it
  };
  // The first unit of `text`, which must not be empty.
  Unit First(std::string_view text) const;

  // Whether no cut is between a space and the start of `text`: a dummy prefix
  // then belongs to the first unit.
  bool JoinsSpace(std::string_view text) const;

 private:
  static constexpr size_t kAscii = 128;

  struct Char {
    size_t size_bytes = 0;
    char32_t code = 0;  // U+2581 for a space
    bool raw = false;
    bool cut_off = false;  // by the end of the text
  };
  Char Read(std::string_view text) const;
  bool Joined(char32_t a, char32_t b) const;

  bool byte_fallback_;
  std::bitset<kAscii * kAscii> ascii_pairs_;  // a space is at ' '
  absl::flat_hash_set<uint64_t> other_pairs_;
  absl::flat_hash_set<char32_t> known_;  // pieces of one character
};

}  // namespace chela

#endif  // CHELA_MODELS_UNIT_SPLITTER_H_
