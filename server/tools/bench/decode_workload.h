#ifndef CHELA_SERVER_TOOLS_BENCH_DECODE_WORKLOAD_H_
#define CHELA_SERVER_TOOLS_BENCH_DECODE_WORKLOAD_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "models/chela_model.h"
#include "models/sampler.h"
#include "models/state_pool.h"
#include "nlohmann/json.hpp"
#include "server/tools/bench/stage_timer.h"

namespace chela::bench {

// What to load.
struct WorkloadOptions {
  std::string model_dir;  // a checkpoint; empty: random weights of `config`
  ModelConfig config;
  std::optional<DType> matrices;  // as Weights::Load takes it
  BackendOptions backend;
  int32_t max_batch = 1;
  int32_t max_chunk = 256;  // tokens of a prefill step
  int32_t max_copies = 64;  // of the weights, see DecodeWorkload
  SamplingParams sampling;  // of all sequences, but for the seed
  bool stages = false;      // takes the time of each op; CPU only
};

// A model that decodes without a server: what Engine does each step, less the
// requests. Where one copy of the weights would stay in the caches, several
// copies take turns, each with states of its own, so that together they are at
// least eight times the last-level cache.
//
// Threads: owned by one thread.
class DecodeWorkload {
 public:
  static absl::StatusOr<std::unique_ptr<DecodeWorkload>> Create(
      const WorkloadOptions& options);

  // Puts `batch` sequences at `position`, or with `spread` at positions from
  // there on that are spread over a period of `period` tokens. The states are
  // seeded finite values other than zero, with every ring row and cached sum
  // filled: rows are found by position alone, so any values stand for a state
  // that a prompt of that length could have left, and the work of a step does
  // not depend on them.
  absl::Status Seed(int32_t batch, int64_t position, bool spread,
                    int64_t period);
  // The same, but the states stay as they are.
  void SetPositions(int32_t batch, int64_t position, bool spread,
                    int64_t period);
  // One token for each sequence of the copy whose turn it is: from the plan to
  // the sampled ids.
  absl::Status Step();
  // Of the steps since Seed or SetPositions, what sampling took of each on
  // average.
  double sampling_seconds() const {
    return steps_ == 0 ? 0 : sampling_seconds_ / static_cast<double>(steps_);
  }

  // Of the steps since Seed or SetPositions: null without WorkloadOptions's
  // `stages`, else what StageTimer::ToJson gives.
  nlohmann::json stages() const;

  // Reads a prompt of `tokens` tokens from position 0 in chunks, up to the
  // first sampled token.
  absl::Status Prefill(int64_t tokens, int64_t chunk);

  const ModelConfig& config() const { return copies_[0].model->config(); }
  const Weights& weights() const { return copies_[0].model->weights(); }
  Backend& backend() { return *backend_; }
  BackendInfo backend_info() const { return backend_->Info(); }
  int32_t copies() const { return static_cast<int32_t>(copies_.size()); }
  int64_t state_bytes() const { return copies_[0].pool->slot_bytes(); }
  // The state of the first copy's sequence `row`.
  absl::StatusOr<std::vector<float>> State(int32_t row);

 private:
  struct Copy {
    std::unique_ptr<ChelaModel> model;
    std::unique_ptr<StatePool> pool;
    std::vector<StatePool::Slot> slots;
    StepPlan plan;
    int64_t step = 0;
  };

  explicit DecodeWorkload(const WorkloadOptions& options) : options_(options) {}
  absl::Status AddCopy(uint64_t seed);
  int32_t Sample(int64_t row, int64_t draw);
  absl::Status StepWithDraws(Copy& copy, std::span<float> logits);

  const WorkloadOptions options_;
  absl::Status RunStep(Copy& copy, double* sampling_seconds);

  std::unique_ptr<Backend> backend_;  // outlives the copies
  StageTimer* timer_ = nullptr;       // the backend, if it is one
  std::vector<Copy> copies_;
  std::vector<Sampler> samplers_;
  std::vector<float> logits_;
  std::vector<int32_t> drawn_;  // by a backend that draws tokens
  size_t turn_ = 0;
  int64_t period_ = 1;
  double sampling_seconds_ = 0;
  int64_t steps_ = 0;
};

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_DECODE_WORKLOAD_H_
