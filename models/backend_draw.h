#ifndef CHELA_MODELS_BACKEND_DRAW_H_
#define CHELA_MODELS_BACKEND_DRAW_H_

#include <optional>
#include <vector>

#include "models/draw_plan.h"
#include "models/sampling_params.h"
#include "models/sampling_rules.h"

namespace chela {

// A request's rules as a backend applies them (kernels/draw.h), next to the
// SamplingRules that the host applies. Immutable.
class BackendDraw {
 public:
  explicit BackendDraw(const SamplingParams& params);

  // The rule of a step, but for the random number; its lists go to `plan`. None
  // if a backend has no such rules, or not for so long a list.
  std::optional<DrawRule> RuleOf(const SamplingStep& step,
                                 DrawPlan& plan) const;

 private:
  bool possible_ = true;
  DrawRule rule_;
  int32_t min_tokens_ = 0;
  std::vector<TokenBias> biases_;
  std::vector<TokenBias> first_biases_;  // of the first min_tokens_ draws
};

}  // namespace chela

#endif  // CHELA_MODELS_BACKEND_DRAW_H_
