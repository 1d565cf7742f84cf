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

// Applies a request's rules in order (temperature, top_k, top_p: see
// models/sampling_rules.h) to one row of logits, then draws with a
// counter-based generator (Philox 4x32-10, Salmon et al. 2011) keyed by (seed,
// branch) at counter `draw`. The same params, logits and draw give the same
// token, whatever else runs. Ties go to the lower id. With u the uniform draw
// in [0, 1), the token is the first, in id order, at which the summed
// probability of what the rules kept exceeds u; so a rule that drops nothing
// changes no draw.
//
// Precision: a candidate's weight exp((logit - max) / temperature) is float32
// (relative error below 2^-19 where the exponent is above -16; a weight that
// rounds to 0 is never drawn), sums are double. Owned by one thread.
class Sampler {
 public:
  explicit Sampler(const SamplingParams& params, uint32_t branch = 0);
  ~Sampler();
  Sampler(Sampler&&) noexcept;
  Sampler& operator=(Sampler&&) noexcept;

  // logits: [vocab], vocab >= 1, finite; -inf bans a token. draw: the index of
  // the generated token, from 0. The token is in [0, vocab) whatever the
  // logits are: NaN counts as -inf, +inf as the largest float, and if every
  // token is banned, none is.
  SampledToken Sample(std::span<const float> logits, int64_t draw);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// log softmax(logits)[token], of float32 exponentials (each within 1 ulp)
// summed in double: within 2^-20 of the true value. A token outside [0, vocab)
// is a broken invariant. Thread-safe.
double LogProbability(std::span<const float> logits, int32_t token);

}  // namespace chela

#endif  // CHELA_MODELS_SAMPLER_H_
