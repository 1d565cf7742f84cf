#ifndef CHELA_MODELS_STEP_PLAN_H_
#define CHELA_MODELS_STEP_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "kernels/step.h"
#include "models/draw_plan.h"

namespace chela {

// What one forward pass computes: segments of tokens, each of one sequence,
// and the rows whose logits are wanted.
struct StepPlan {
  std::vector<Segment> segments;
  std::vector<int32_t> tokens;       // [rows], in the segments' order
  std::vector<int32_t> logits_rows;  // rows of `tokens`, ascending
  // How the backend draws tokens: without rules not at all, else one rule for
  // each of logits_rows.
  DrawPlan draws;
};

// What a plan must fit.
struct PlanLimits {
  int32_t max_rows = 0;  // of a step
  int32_t slots = 0;     // of the pool
  int32_t vocab_size = 0;
  bool draws = false;  // whether the backend draws tokens
  size_t logits = 0;   // floats there is space for
  size_t tokens = 0;   // drawn tokens there is space for
};

// INVALID_ARGUMENT, naming the first thing found that is wrong and what was
// wanted, unless the segments follow each other without gaps, each in a slot of
// its own, over exactly the plan's tokens, rows and tokens are in range, and
// the spaces have exactly the sizes that the plan fills.
absl::Status Check(const StepPlan& plan, const PlanLimits& limits);

}  // namespace chela

#endif  // CHELA_MODELS_STEP_PLAN_H_
