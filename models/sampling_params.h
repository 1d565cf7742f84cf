#ifndef CHELA_MODELS_SAMPLING_PARAMS_H_
#define CHELA_MODELS_SAMPLING_PARAMS_H_

#include <cstdint>
#include <vector>

#include "kernels/draw.h"

namespace chela {

// How a request picks tokens. Defaults are the API's; docs/sampling.md defines
// each value. Ids are in [0, vocab).
struct SamplingParams {
  double temperature = 1;         // [0, 100]; 0 is greedy
  int32_t top_k = 0;              // >= 0; 0 is off
  double top_p = 1;               // (0, 1]; 1 is off
  double min_p = 0;               // [0, 1]; 0 is off
  double typical_p = 1;           // (0, 1]; 1 is off
  double repetition_penalty = 1;  // (0, 100]; 1 is off
  double presence_penalty = 0;    // [-2, 2]; 0 is off
  double frequency_penalty = 0;   // [-2, 2]; 0 is off
  int32_t penalty_window = 0;     // tokens the penalties look back; 0: all
  uint64_t seed = 0;
  // The first so many tokens are none of end_tokens.
  int32_t min_tokens = 0;  // >= 0
  // Those that would end the text: EOS unless it is ignored, stop_token_ids.
  std::vector<int32_t> end_tokens = {};
  std::vector<TokenBias> logit_bias = {};    // one a token, finite
  std::vector<int32_t> allowed_tokens = {};  // empty: all
  std::vector<int32_t> banned_tokens = {};
  int32_t logprobs = -1;  // most likely tokens to report; 0: the chosen one
                          // only; -1: none. At most kMaxLogprobs
};
inline constexpr int32_t kMaxLogprobs = 20;

}  // namespace chela

#endif  // CHELA_MODELS_SAMPLING_PARAMS_H_
