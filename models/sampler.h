#ifndef CHELA_MODELS_SAMPLER_H_
#define CHELA_MODELS_SAMPLER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "models/candidates.h"
#include "models/draw_plan.h"
#include "models/sampler_state.h"
#include "models/sampling_params.h"
#include "models/token_history.h"

namespace chela {

// The most biases, and the most counts, of one backend's draw.
inline constexpr size_t kMaxDrawList = 4096;

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

// Applies a request's rules in order (models/sampling_rules.h) to one row of
// logits, then draws with a counter-based generator (Philox 4x32-10, Salmon et
// al. 2011) keyed by (seed, branch) at counter `draw`. The same params,
// history, logits and draw give the same token, whatever else runs. Ties go to
// the lower id. With u the uniform draw in [0, 1), the token is the first, in
// id order, at which the summed probability of what the rules kept exceeds u;
// so a rule that drops nothing changes no draw.
//
// Precision: a candidate's weight exp((logit - max) / temperature) is float32
// (its exponent is rounded three times, so that the relative error is below
// 2^-18 where the exponent is above -16; a weight below e^-87 is 0 and never
// drawn), sums are double. Owned by one thread.
class Sampler {
 public:
  explicit Sampler(const SamplingParams& params, uint32_t branch = 0);
  // Another branch with the same params and the history so far.
  Sampler(const Sampler& other, uint32_t branch);
  ~Sampler();
  Sampler(Sampler&&) noexcept;
  Sampler& operator=(Sampler&&) noexcept;

  // Goes on after an earlier text, before anything is added or drawn. With
  // `as_prompt` all of it counts as prompt and draws start anew; without, they
  // count on from its draws, as if the text had never stopped. The seed is that
  // of the params either way.
  void Continue(const SamplerState& earlier, bool as_prompt);

  // What the penalties look at: the prompt, then each token that was sampled.
  // Without penalties neither does anything.
  void AddPrompt(std::span<const int32_t> tokens);
  void AddGenerated(int32_t token);

  // logits: [vocab], vocab >= 1, finite; -inf bans a token. draw: the index of
  // the token among those generated since Continue, from 0. The token is in [0,
  // vocab) whatever the logits are: NaN counts as -inf, +inf as the largest
  // float, and if every token is banned, none is.
  SampledToken Sample(std::span<const float> logits, int64_t draw) const;

  // The same draw as a rule for a backend that draws tokens; what it reads
  // beside the logits is added to the lists of `plan`. None if the host must
  // draw: typical_p, allowed_tokens, or more biases or tokens to look back at
  // than kMaxDrawList. That depends on the params and the text alone.
  std::optional<DrawRule> RuleOf(int64_t draw, DrawPlan& plan) const;
  // What is reported of a token that a backend drew from these logits, which
  // nobody reads unless params.logprobs >= 0.
  SampledToken Report(int32_t token, std::span<const float> logits) const;
  bool reports_logprobs() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// log softmax(logits)[token], of float32 exponentials (each within 2 units in
// the last place) summed in double: within 2^-20 of the true value. A token
// outside [0, vocab) is a broken invariant. Thread-safe.
double LogProbability(std::span<const float> logits, int32_t token);

// The token with its log-probability and the `count` most likely ones, at most
// kMaxLogprobs: an entry of prompt_logprobs. Thread-safe.
SampledToken WithLogprobs(std::span<const float> logits, int32_t token,
                          int32_t count);

}  // namespace chela

#endif  // CHELA_MODELS_SAMPLER_H_
