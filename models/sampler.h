#ifndef CHELA_MODELS_SAMPLER_H_
#define CHELA_MODELS_SAMPLER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace chela {

// How a request picks tokens. Defaults are the API's.
struct SamplingParams {
  double temperature = 1.0;  // [0, 100]; 0 is greedy
  int32_t top_k = 0;         // >= 0; 0 is off
  double top_p = 1.0;        // (0, 1]; 1 is off
  uint64_t seed = 0;
  int32_t logprobs = -1;  // most likely tokens to report; 0: the chosen one
                          // only; -1: none. At most kMaxLogprobs
};
inline constexpr int32_t kMaxLogprobs = 20;

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;  // natural log, of the raw distribution
};

struct SampledToken {
  int32_t token = 0;
  // Of the raw distribution: softmax of the logits before any rule. Only if
  // params.logprobs >= 0.
  float logprob = 0;
  std::vector<TokenLogprob> top;  // params.logprobs of them, most likely first
};

// One step of shaping the candidates: drops or reweighs them.
class SamplingRule;

// Applies a request's rules in order (temperature, top_k, top_p) to one row
// of logits, then draws with a counter-based generator (Philox 4x32-10,
// Salmon et al. 2011) keyed by (seed, branch) at counter `draw`. The same
// params, logits and draw give the same token, whatever else runs. Ties go to
// the lower id. Owned by one thread.
class Sampler {
 public:
  explicit Sampler(const SamplingParams& params, uint32_t branch = 0);
  ~Sampler();
  Sampler(Sampler&&) noexcept;
  Sampler& operator=(Sampler&&) noexcept;

  // logits: [vocab], finite. draw: the index of the generated token, from 0.
  SampledToken Sample(std::span<const float> logits, int64_t draw);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// log softmax(logits)[token], summed in double; a token outside [0, vocab) is
// a broken invariant.
double LogProbability(std::span<const float> logits, int32_t token);

}  // namespace chela

#endif  // CHELA_MODELS_SAMPLER_H_
