#ifndef CHELA_MODELS_CHELA_MODEL_H_
#define CHELA_MODELS_CHELA_MODEL_H_

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "models/model_config.h"
#include "models/state_pool.h"
#include "models/step_plan.h"
#include "models/weights.h"

namespace chela {

// The forward pass of one checkpoint on one backend: a straight list of
// Backend::Run calls that advance the sequences of a StepPlan and produce
// logits. Holds no per-sequence data; a row's logits depend on its sequence
// only, bit for bit.
//
// Threads: owned by one thread (the engine's).
class ChelaModel {
 public:
  // max_rows: the most rows of one step, and of its logits. Activations are
  // allocated here, never while serving. `backend` must outlive the model.
  static absl::StatusOr<std::unique_ptr<ChelaModel>> Create(
      Backend& backend, std::unique_ptr<Weights> weights, int32_t max_rows);

  // Whether plans may have draws: tokens are then drawn where the logits are.
  bool draws_tokens() const { return backend_.draws_tokens(); }

  // Advances the plan's sequences in `pool` and writes the logits of
  // plan.logits_rows to `logits` [logits_rows.size(), vocab] (host). With draws
  // it writes the drawn tokens to `tokens` [logits_rows.size()], those of other
  // rows undefined, and only such logits as DrawPlan says.
  // INVALID_ARGUMENT if the plan is inconsistent or has more than max_rows
  // rows; nothing has changed then. UNAVAILABLE or INTERNAL if the device
  // failed.
  absl::Status Forward(const StepPlan& plan, StatePool& pool,
                       std::span<float> logits, std::span<int32_t> tokens = {});

  // The logits of the last step stay where they are until the next Forward, so
  // whoever finds only then that he needs some asks for them. `row`: an index
  // of that plan's logits_rows.
  absl::Status ReadLogits(size_t row, std::span<float> logits);  // [vocab]
  // Another token of that row. `plan`: one rule that draws. Only if
  // draws_tokens().
  absl::StatusOr<int32_t> DrawAgain(size_t row, const DrawPlan& plan);
  // Puts `logits` [vocab] in row 0, as if a step had given them.
  absl::Status PutLogits(std::span<const float> logits);

  const ModelConfig& config() const { return weights_->config(); }
  const Weights& weights() const { return *weights_; }
  int32_t max_rows() const { return max_rows_; }
  // Activations and logits, in the backend's memory.
  int64_t activation_bytes() const;

 private:
  struct Activations;
  ChelaModel(Backend& backend, std::unique_ptr<Weights> weights,
             int32_t max_rows);
  absl::Status CheckPool(const StatePool& pool) const;
  // Brings the results of a step to the host.
  absl::Status Collect(const StepPlan& plan, std::span<float> logits,
                       std::span<int32_t> tokens);
  // [first, first + count) of the step's rows of logits.
  absl::Status ReadRows(size_t first, size_t count, std::span<float> logits);
  absl::Status RunOps(const StepPlan& plan, StatePool& pool);
  // The program of this model on that pool's memory.
  uint64_t ProgramOf(StatePool& pool);
  absl::Status RunConvolutions(int32_t layer, StatePool& pool);
  absl::Status RunAttention(int32_t layer, StatePool& pool);
  absl::Status RunLayer(int32_t layer, StatePool& pool);
  // One part (an offset of StateLayout) of one layer's states.
  static StateView StateOf(StatePool& pool, int32_t layer, int64_t part);

  Backend& backend_;
  std::unique_ptr<Weights> weights_;
  int32_t max_rows_;
  std::shared_ptr<Activations> activations_;
  const float* program_states_ = nullptr;
  uint64_t program_ = 0;
};

}  // namespace chela

#endif  // CHELA_MODELS_CHELA_MODEL_H_
