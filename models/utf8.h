#ifndef CHELA_MODELS_UTF8_H_
#define CHELA_MODELS_UTF8_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace chela {

// One character at the start of some bytes.
enum class Utf8Kind {
  kCharacter,   // complete and well-formed (no surrogate, shortest form)
  kBroken,      // can never become a character, whatever follows
  kIncomplete,  // a proper start of a character, cut off by the end
};
struct Utf8Step {
  Utf8Kind kind = Utf8Kind::kBroken;
  size_t length = 0;        // bytes it takes; kBroken: the maximal subpart
  char32_t code_point = 0;  // of a kCharacter
};

// The first character of `bytes`, which must not be empty. Well-formed is as
// in Unicode 15, table 3-7. Thread-safe, as all functions here.
Utf8Step NextUtf8(std::string_view bytes);

// The length of the longest prefix of `bytes` that ends on a character
// boundary; a broken sequence counts as complete (it will never become a
// character). At most 3 bytes less than bytes.size().
size_t CompleteUtf8Prefix(std::string_view bytes);

// The length of the longest prefix of `bytes` that is valid UTF-8.
size_t ValidUtf8Prefix(std::string_view bytes);

// The last character of `text`, valid UTF-8 and not empty.
char32_t LastCharacter(std::string_view text);

// The 1 to 4 bytes of a code point that is no surrogate.
std::string EncodeUtf8(char32_t code_point);

// `bytes` with each maximal broken sequence replaced by U+FFFD (Unicode 15,
// 3.9, "substitution of maximal subparts"); a character cut off by the end is
// one such sequence.
std::string ToValidUtf8(std::string_view bytes);

}  // namespace chela

#endif  // CHELA_MODELS_UTF8_H_
