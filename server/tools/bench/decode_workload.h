#ifndef CHELA_SERVER_TOOLS_BENCH_DECODE_WORKLOAD_H_
#define CHELA_SERVER_TOOLS_BENCH_DECODE_WORKLOAD_H_

#include <array>
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
  int32_t attention_replay = 0;   // likewise
  BackendOptions backend;
  int32_t max_batch = 1;
  int32_t base_batch = 0;   // of the base set, see DecodeWorkload
  int32_t max_chunk = 256;  // tokens of a prefill step
  int32_t max_copies = 64;  // of the weights, see DecodeWorkload
  SamplingParams sampling;  // of all sequences, but for the seed
  bool stages = false;      // takes the time of each op; CPU only
};

// A model that decodes without a server: what Engine does each step, less the
// requests. Where one copy of the weights would stay in the caches, several
// copies take turns, each with states of its own, so that together they are at
// least eight times the last-level cache. A second set of sequences, the base,
// has states of its own and shares the weights, so that two rows of a table can
// be stepped in turn.
//
// Threads: owned by one thread.
class DecodeWorkload {
 public:
  enum Set { kMeasured, kBase };

  // Where the sequences of a set stand: `batch` of them at `position`, or with
  // `spread` from there on, spread over a period of `period` tokens.
  struct Sequences {
    int32_t batch = 1;
    int64_t position = 1024;
    bool spread = false;
    int64_t period = 1;
  };

  static absl::StatusOr<std::unique_ptr<DecodeWorkload>> Create(
      const WorkloadOptions& options);

  // Puts the set's sequences there. The states are seeded finite values other
  // than zero, with every ring row and cached sum filled: rows are found by
  // position alone, so any values stand for a state that a prompt of that
  // length could have left, and the work of a step does not depend on them.
  absl::Status Seed(const Sequences& sequences, Set set = kMeasured);
  // The same, but the states stay as they are.
  void SetPositions(const Sequences& sequences, Set set = kMeasured);
  // One token for each sequence of the set, in the copy whose turn it is: from
  // the plan to the sampled ids.
  absl::Status Step(Set set = kMeasured);
  // Of the measured set's steps since its Seed or SetPositions, what sampling
  // took of each on average.
  double sampling_seconds() const {
    return steps_ == 0 ? 0 : sampling_seconds_ / static_cast<double>(steps_);
  }

  // Of the same steps: null without WorkloadOptions's
  // `stages`, else what StageTimer::ToJson gives.
  nlohmann::json stages() const;

  // Reads a prompt of `tokens` tokens from position 0 in chunks, up to the
  // first sampled token: one step for stages().
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
  static constexpr int kSets = 2;

  // A set's sequences in one copy.
  struct Place {
    StepPlan plan;
    int64_t step = 0;
  };
  struct Copy {
    std::unique_ptr<ChelaModel> model;
    std::unique_ptr<StatePool> pool;
    std::vector<StatePool::Slot> slots;  // of the measured set, then the base
    std::array<Place, kSets> places;
  };

  explicit DecodeWorkload(const WorkloadOptions& options) : options_(options) {}
  absl::Status AddCopy(uint64_t seed);
  int32_t FirstSlot(Set set) const {
    return set == kBase ? options_.max_batch : 0;
  }
  int32_t Sample(int64_t row, int64_t draw);
  absl::Status RunStep(Copy& copy, Place& place, double* sampling_seconds);
  absl::Status StepWithDraws(Copy& copy, Place& place, std::span<float> logits);

  WorkloadOptions options_;
  std::unique_ptr<Backend> backend_;  // outlives the copies
  StageTimer* timer_ = nullptr;       // the backend, if it is one
  std::vector<Copy> copies_;
  std::vector<Sampler> samplers_;
  std::vector<float> logits_;
  std::vector<int32_t> drawn_;  // by a backend that draws tokens
  std::array<size_t, kSets> turns_ = {};
  int64_t period_ = 1;
  double sampling_seconds_ = 0;
  int64_t steps_ = 0;
};

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_DECODE_WORKLOAD_H_
