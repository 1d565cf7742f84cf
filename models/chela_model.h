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
  // it writes the drawn tokens to `tokens` [logits_rows.size()] instead, and
  // the logits of those rows only whose temperature is negative.
  // INVALID_ARGUMENT if the plan is inconsistent or has more than max_rows
  // rows; nothing has changed then. UNAVAILABLE or INTERNAL if the device
  // failed.
  absl::Status Forward(const StepPlan& plan, StatePool& pool,
                       std::span<float> logits, std::span<int32_t> tokens = {});

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
