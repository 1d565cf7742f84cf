#ifndef CHELA_MODELS_ADDED_TOKENS_H_
#define CHELA_MODELS_ADDED_TOKENS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"

namespace chela {

// One of "added_tokens" in a tokenizer.json: a token that is found in text as
// it is written, before anything else is done.
struct AddedToken {
  std::string content;  // not empty, valid UTF-8
  int32_t id = 0;
  bool single_word = false;  // only if no word character stands beside it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and behind it
  bool normalized = false;   // is found in normalised text
  bool special = false;      // stands for no text when ids become text
};

// Finds added tokens in text. At each place the longest that begins there is
// taken, from left to right, without overlaps. Immutable and thread-safe.
class AddedTokens {
 public:
  // No two with the same content; none with `rstrip` beside one whose content
  // begins with white space.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  // A part of a text: the occurrence of a token, with the white space that it
  // takes, or text between two of them, never empty.
  struct Span {
    size_t begin = 0;
    size_t end = 0;
    const AddedToken* token = nullptr;  // null: text
  };
  // The spans of `text`, valid UTF-8, in order: all of it.
  void Split(std::string_view text, absl::FunctionRef<void(Span)> sink) const;

  // The same for a text that may go on: the spans that stay the same whatever
  // follows. `tail` gets the part behind them, [begin, end), that is text in
  // any case (what is behind that part may become a token).
  void SplitOpen(std::string_view text, absl::FunctionRef<void(Span)> sink,
                 Span* tail) const;

  // Whether the tokens found in `text`, which may go on, are those found in
  // both parts beside `at`. (Spans have to end there; only `single_word` looks
  // over that edge.)
  bool MayCut(std::string_view text, size_t at) const;

 private:
  struct Longest {
    const AddedToken* token = nullptr;
    bool cut_off = false;  // the end of the text hides a longer one, perhaps
  };
  Longest LongestAt(std::string_view text) const;
  // The occurrence of `token` at `at`, behind `done`.
  Span Occurrence(std::string_view text, const AddedToken& token, size_t at,
                  size_t done) const;
  void Scan(std::string_view text, bool open,
            absl::FunctionRef<void(Span)> sink, Span* tail) const;

  std::vector<AddedToken> tokens_;     // by content
  std::array<bool, 256> starts_ = {};  // first bytes
  bool lstrip_ = false;                // some token has it
  bool single_word_ = false;
};

}  // namespace chela

#endif  // CHELA_MODELS_ADDED_TOKENS_H_
