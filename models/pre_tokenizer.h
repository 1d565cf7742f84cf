#ifndef CHELA_MODELS_PRE_TOKENIZER_H_
#define CHELA_MODELS_PRE_TOKENIZER_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "models/regex.h"

namespace chela {

// Cuts text into the pieces (words, roughly) that merges of byte-pair encoding
// do not cross: "Split" with a regular expression and "Isolated", as often as
// the tokenizer.json says. Every match is a piece, and so is what lies between
// two matches; the next expression cuts the pieces of the one before.
//
// A piece is found by looking at no more than kMaxPieceBytes from its start: a
// longer run without a place to cut is cut there, which bounds time and memory
// (and no such text is prose). A piece therefore depends on the text from its
// start on, never on what stands before it.
//
// Immutable and thread-safe; a Cutter belongs to one thread.
class PreTokenizer {
 public:
  static constexpr size_t kMaxPieceBytes = size_t{1} << 20;

  // patterns: in the syntax of tokenizer.json; none: all text is one piece.
  // INVALID_ARGUMENT as Regex::Compile, led by the pattern's index.
  static absl::StatusOr<PreTokenizer> Create(
      const std::vector<std::string>& patterns);

  // Room for the searches of one call. Must not outlive its PreTokenizer.
  class Cutter {
   public:
    explicit Cutter(const PreTokenizer& rules);

    // The pieces of `text`, valid UTF-8, in order.
    void ForEachPiece(std::string_view text,
                      absl::FunctionRef<void(std::string_view)> sink) {
      Cut(0, text, sink);
    }
    // Where `text` may be cut: ends of pieces of the first expression, such
    // that the pieces in front of them are the same whatever follows `text`,
    // and the same if the text ends there.
    std::vector<size_t> SettledEnds(std::string_view text);

   private:
    void Cut(size_t level, std::string_view text,
             absl::FunctionRef<void(std::string_view)> sink);
    // The size of the first piece; 0 if it depends on what follows `text`.
    size_t First(size_t level, std::string_view text, bool open);

    std::vector<Regex::Matcher> matchers_;  // by level
  };

 private:
  std::vector<Regex> patterns_;
};

}  // namespace chela

#endif  // CHELA_MODELS_PRE_TOKENIZER_H_
