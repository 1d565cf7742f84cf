#include "models/step_plan.h"

#include <limits>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "kernels/validate.h"

namespace chela {
namespace {

absl::Status Inconsistent(const std::string& field, int64_t got,
                          const std::string& wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat("step plan: ", field, " ", got, "; want ", wanted));
}

absl::Status CheckSegments(const StepPlan& plan, int32_t num_slots) {
  const int64_t rows = static_cast<int64_t>(plan.tokens.size());
  std::set<int32_t> slots;
  int64_t next_row = 0;
  for (const Segment& segment : plan.segments) {
    if (segment.first_row != next_row) {
      return Inconsistent("first row", segment.first_row,
                          absl::StrCat(next_row, ", without gaps"));
    }
    if (segment.rows < 1 || segment.rows > rows - next_row) {
      return Inconsistent("rows of a segment", segment.rows,
                          absl::StrCat("[1, ", rows - next_row, "]"));
    }
    next_row += segment.rows;
    if (segment.slot < 0 || segment.slot >= num_slots) {
      return Inconsistent("slot", segment.slot,
                          absl::StrCat("[0, ", num_slots, ")"));
    }
    if (!slots.insert(segment.slot).second) {
      return Inconsistent("slot", segment.slot, "each slot once");
    }
    constexpr int64_t kLast = std::numeric_limits<int64_t>::max();
    if (segment.position < 0 || segment.position > kLast - segment.rows) {
      return Inconsistent("position", segment.position,
                          "0 or more, and an end below 2^63");
    }
  }
  if (next_row == rows) return absl::OkStatus();
  return Inconsistent("rows of all segments", next_row,
                      absl::StrCat("the number of tokens, ", rows));
}

absl::Status CheckDraws(const StepPlan& plan, const PlanLimits& limits) {
  const auto draws = static_cast<int64_t>(plan.draws.rules.size());
  if (draws == 0) return absl::OkStatus();
  if (!limits.draws) return Inconsistent("draws", draws, "0 on this backend");
  if (plan.draws.rules.size() != plan.logits_rows.size() ||
      plan.draws.with_logits.size() != plan.logits_rows.size()) {
    return Inconsistent("draws", draws,
                        absl::StrCat(plan.logits_rows.size(),
                                     ", one for each row of logits, or none"));
  }
  CHELA_RETURN_IF_ERROR(Validate(plan.draws.inputs(), limits.vocab_size));
  if (limits.tokens == plan.draws.rules.size()) return absl::OkStatus();
  return Inconsistent("space for tokens", static_cast<int64_t>(limits.tokens),
                      absl::StrCat(draws, ", one for each draw"));
}

absl::Status CheckRows(const StepPlan& plan, int32_t vocab_size,
                       size_t logits_size) {
  for (const int32_t token : plan.tokens) {
    if (token >= 0 && token < vocab_size) continue;
    return Inconsistent("token", token, absl::StrCat("[0, ", vocab_size, ")"));
  }
  const int64_t rows = static_cast<int64_t>(plan.tokens.size());
  int64_t previous = -1;
  for (const int32_t row : plan.logits_rows) {
    if (row <= previous || row >= rows) {
      return Inconsistent("logits row", row,
                          absl::StrCat("(", previous, ", ", rows, ")"));
    }
    previous = row;
  }
  const size_t wanted =
      plan.logits_rows.size() * static_cast<size_t>(vocab_size);
  if (logits_size == wanted) return absl::OkStatus();
  return Inconsistent("space for logits", static_cast<int64_t>(logits_size),
                      absl::StrCat(wanted, " floats"));
}

}  // namespace

absl::Status Check(const StepPlan& plan, const PlanLimits& limits) {
  if (plan.tokens.size() > static_cast<size_t>(limits.max_rows)) {
    return Inconsistent("rows", static_cast<int64_t>(plan.tokens.size()),
                        absl::StrCat("at most ", limits.max_rows));
  }
  CHELA_RETURN_IF_ERROR(CheckSegments(plan, limits.slots));
  CHELA_RETURN_IF_ERROR(CheckDraws(plan, limits));
  return CheckRows(plan, limits.vocab_size, limits.logits);
}

}  // namespace chela
