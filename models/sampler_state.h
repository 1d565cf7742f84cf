#ifndef CHELA_MODELS_SAMPLER_STATE_H_
#define CHELA_MODELS_SAMPLER_STATE_H_

#include <cstdint>
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

}  // namespace chela

#endif  // CHELA_MODELS_SAMPLER_STATE_H_
