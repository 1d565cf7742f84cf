#ifndef CHELA_SERVER_ENGINE_STEP_OUTPUT_H_
#define CHELA_SERVER_ENGINE_STEP_OUTPUT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/chela_model.h"
#include "models/step_plan.h"

namespace chela {

// What a step gave for its rows of logits: the tokens that the backend drew,
// and the logits, which come to the host only where somebody needs them. Which
// of a turn's logits are its last is known once its token was looked at; the
// step's are then still on the device. Memory is kept from step to step.
//
// Threads: owned by the engine's.
class StepOutput {
 public:
  // Runs the plan; its output until the next Run or Put.
  absl::Status Run(ChelaModel& model, const StepPlan& plan, StatePool& pool);
  // One row, as if a step had given it.
  absl::Status Put(ChelaModel& model, std::span<const float> logits);

  // The token that the backend drew of the row; none if it did not.
  std::optional<int32_t> Token(size_t row) const;
  // Another draw of the row: `plan` is one rule that draws. Only on a backend
  // that draws.
  absl::StatusOr<int32_t> DrawAgain(size_t row, const DrawPlan& plan);
  // [vocab], fetched if they are not here yet. Until the next Run or Put.
  absl::StatusOr<std::span<const float>> Logits(size_t row);
  // Of `count` rows from `first` on that were not drawn.
  std::span<const float> Here(size_t first, size_t count) const;

 private:
  void Resize(ChelaModel& model, size_t rows);

  ChelaModel* model_ = nullptr;
  size_t vocab_ = 0;
  std::vector<float> logits_;  // [rows, vocab], grows to the largest step
  std::vector<char> here_;     // [rows]: whether those are on the host
  std::vector<int32_t> tokens_;
  std::vector<char> drawn_;
};

// The rows that one sequence asked for.
class SequenceOutput {
 public:
  SequenceOutput(StepOutput& step, size_t first, size_t rows)
      : step_(step), first_(first), rows_(rows) {}

  size_t rows() const { return rows_; }
  SequenceOutput Row(size_t row) const { return {step_, first_ + row, 1}; }
  std::optional<int32_t> Token(size_t row) const {
    return step_.Token(first_ + row);
  }
  absl::StatusOr<int32_t> DrawAgain(size_t row, const DrawPlan& plan) const {
    return step_.DrawAgain(first_ + row, plan);
  }
  absl::StatusOr<std::span<const float>> Logits(size_t row) const {
    return step_.Logits(first_ + row);
  }
  // [rows, vocab], of rows that were not drawn or came with their logits.
  std::span<const float> Here() const { return step_.Here(first_, rows_); }

 private:
  StepOutput& step_;
  size_t first_;
  size_t rows_;
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_STEP_OUTPUT_H_
