#ifndef CHELA_SERVER_ENGINE_SEQUENCE_STATE_H_
#define CHELA_SERVER_ENGINE_SEQUENCE_STATE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace chela {

// The latest tokens that a text remembers one by one, for penalty_window.
// Older ones are only counted, so that the state of a text never grows.
inline constexpr int32_t kMaxRecentTokens = 8192;

// What sampling needs to go on with a text as if it had never stopped.
struct SamplerState {
  struct Count {
    int32_t token = 0;
    int32_t in_prompt = 0;
    int32_t generated = 0;
    bool operator==(const Count&) const = default;
  };
  struct Recent {
    int32_t token = 0;
    bool generated = false;
    bool operator==(const Recent&) const = default;
  };

  uint64_t seed = 0;
  int64_t draws = 0;           // tokens drawn with it: the next one's counter
  std::vector<Count> counts;   // by token, ascending: at most one a token
  std::vector<Recent> recent;  // oldest first, at most kMaxRecentTokens
  bool operator==(const SamplerState&) const = default;
};

// What the text needs: its end, as far as more tokens may still decide it.
struct TextState {
  std::string cut;   // the start of an unfinished character, at most 3 bytes
  std::string tail;  // the last bytes before it, at most kMaxTextTail
  bool operator==(const TextState&) const = default;
};
inline constexpr size_t kMaxTextTail = 1023;  // the longest stop string less 1

// One text between two turns, whole: from it the same model goes on with
// exactly the tokens and bits that an uninterrupted run would have had, on the
// same backend. Its size depends on the model alone, not on the text's length.
//
// A turn's last token is usually `pending`: returned, but not fed. It is the
// next token to feed, alone, as a decode step. Without one, every token was
// fed and the next token is drawn from `logits`. Both forms of one text
// continue with the same bits.
//
// Immutable once shared, so a fork is a copy of a pointer. Thread-safe.
struct SequenceState {
  int64_t position = 0;            // tokens fed
  std::optional<int32_t> pending;  // the token at `position`
  // HashTokens of all tokens, the pending one included.
  uint64_t token_hash = 0;
  std::vector<float> logits;     // [vocab] after the token at position - 1
  std::vector<std::byte> state;  // a slot of the StatePool; slot_bytes()
  SamplerState sampler;
  TextState text;

  int64_t tokens() const { return position + (pending.has_value() ? 1 : 0); }
};
using SequenceStatePtr = std::shared_ptr<const SequenceState>;

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_SEQUENCE_STATE_H_
