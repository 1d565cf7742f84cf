#ifndef CHELA_MODELS_DRAW_PLAN_H_
#define CHELA_MODELS_DRAW_PLAN_H_

#include <algorithm>
#include <cstddef>
#include <vector>

#include "kernels/draw.h"

namespace chela {

// The draws of a step, as they are put together (kernels/draw.h has what each
// list means).
struct DrawPlan {
  std::vector<DrawRule> rules;
  std::vector<TokenBias> biases;
  std::vector<TokenCount> counts;
  // One a rule: whether the row's logits come to the host although its token is
  // drawn. Those of a row without a draw always do.
  std::vector<char> with_logits;

  bool empty() const { return rules.empty(); }
  void clear() {
    rules.clear();
    biases.clear();
    counts.clear();
    with_logits.clear();
  }
  // A row whose token the host draws, or nobody.
  void AddNone() {
    rules.push_back({.inverse_temperature = -1});
    with_logits.push_back(0);
  }
  // Whether the backend draws that row's token, or any.
  bool draws(size_t row) const { return rules[row].inverse_temperature >= 0; }
  bool any() const {
    return std::any_of(rules.begin(), rules.end(), [](const DrawRule& rule) {
      return rule.inverse_temperature >= 0;
    });
  }
  DrawInputs inputs() const { return {rules, biases, counts}; }
};

}  // namespace chela

#endif  // CHELA_MODELS_DRAW_PLAN_H_
