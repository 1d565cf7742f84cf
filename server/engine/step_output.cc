#include "server/engine/step_output.h"

#include <algorithm>
#include <cassert>

#include "kernels/status_macros.h"

namespace chela {

void StepOutput::Resize(ChelaModel& model, size_t rows) {
  model_ = &model;
  vocab_ = static_cast<size_t>(model.config().vocab_size);
  if (logits_.size() < rows * vocab_) logits_.resize(rows * vocab_);
  here_.assign(rows, 1);
  drawn_.assign(rows, 0);
}

absl::Status StepOutput::Run(ChelaModel& model, const StepPlan& plan,
                             StatePool& pool) {
  const size_t rows = plan.logits_rows.size();
  Resize(model, rows);
  const bool draws = !plan.draws.empty();
  tokens_.resize(draws ? rows : 0);
  for (size_t row = 0; draws && row < rows; ++row) {
    drawn_[row] = plan.draws.draws(row) ? 1 : 0;
    here_[row] = drawn_[row] == 0 || plan.draws.with_logits[row] != 0 ? 1 : 0;
  }
  return model.Forward(plan, pool, std::span(logits_).first(rows * vocab_),
                       tokens_);
}

absl::Status StepOutput::Put(ChelaModel& model, std::span<const float> logits) {
  Resize(model, 1);
  assert(logits.size() == vocab_);
  std::copy(logits.begin(), logits.end(), logits_.begin());
  return model.draws_tokens() ? model.PutLogits(logits) : absl::OkStatus();
}

std::optional<int32_t> StepOutput::Token(size_t row) const {
  if (drawn_[row] == 0) return std::nullopt;
  return tokens_[row];
}

absl::StatusOr<int32_t> StepOutput::DrawAgain(size_t row,
                                              const DrawPlan& plan) {
  return model_->DrawAgain(row, plan);
}

absl::StatusOr<std::span<const float>> StepOutput::Logits(size_t row) {
  const std::span<float> logits =
      std::span(logits_).subspan(row * vocab_, vocab_);
  if (here_[row] == 0) {
    CHELA_RETURN_IF_ERROR(model_->ReadLogits(row, logits));
    here_[row] = 1;
  }
  return logits;
}

std::span<const float> StepOutput::Here(size_t first, size_t count) const {
  assert(std::all_of(here_.begin() + static_cast<std::ptrdiff_t>(first),
                     here_.begin() + static_cast<std::ptrdiff_t>(first + count),
                     [](char here) { return here != 0; }));
  return std::span(logits_).subspan(first * vocab_, count * vocab_);
}

}  // namespace chela
