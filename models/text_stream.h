#ifndef CHELA_MODELS_TEXT_STREAM_H_
#define CHELA_MODELS_TEXT_STREAM_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace chela {

// The bytes of generated tokens, turned into text that may be sent: complete
// UTF-8 characters only (bytes that can be none become U+FFFD), and nothing
// that may turn out to be the start of a stop string. Owned by one thread.
class TextStream {
 public:
  // stops: non-empty strings, at most a few.
  explicit TextStream(std::vector<std::string> stops);

  struct Output {
    std::string text;                 // may be sent now, valid UTF-8
    std::optional<std::string> stop;  // the stop string that matched; the text
                                      // from its first byte on is dropped
  };
  // The bytes of the next token. After a stop matched, must not be called.
  Output Push(std::string_view bytes);

  // The end without a stop: what was held back for one. A character cut off in
  // the middle is not text; its bytes are counted in truncated_bytes().
  std::string Finish();
  size_t truncated_bytes() const { return truncated_bytes_; }

 private:
  std::vector<std::string> stops_;
  std::string pending_;  // bytes not yet sent
  size_t truncated_bytes_ = 0;
};

// The length of the longest prefix of `bytes` that ends on a character
// boundary; a broken sequence counts as complete (it will never become a
// character).
size_t CompleteUtf8Prefix(std::string_view bytes);
// `bytes` with each maximal broken sequence replaced by U+FFFD (Unicode 15,
// 3.9, "substitution of maximal subparts").
std::string ToValidUtf8(std::string_view bytes);

}  // namespace chela

#endif  // CHELA_MODELS_TEXT_STREAM_H_
