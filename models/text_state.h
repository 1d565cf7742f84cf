#ifndef CHELA_MODELS_TEXT_STATE_H_
#define CHELA_MODELS_TEXT_STATE_H_

#include <cstddef>
#include <string>

namespace chela {

inline constexpr size_t kMaxTextTail = 1023;  // the longest stop string less 1

// The end of a generated text, as far as more tokens may still decide it.
struct TextState {
  std::string cut;   // the start of an unfinished character, at most 3 bytes
  std::string tail;  // the last bytes before it, at most kMaxTextTail
  bool operator==(const TextState&) const = default;
};

}  // namespace chela

#endif  // CHELA_MODELS_TEXT_STATE_H_
