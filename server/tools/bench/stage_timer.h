#ifndef CHELA_SERVER_TOOLS_BENCH_STAGE_TIMER_H_
#define CHELA_SERVER_TOOLS_BENCH_STAGE_TIMER_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/forwarding_backend.h"
#include "nlohmann/json.hpp"

namespace chela::bench {

// A backend that takes the time of each op of a step that another one runs. For
// backends whose ops have run when Run returns: the CPU's.
//
// Threads: as the backend.
class StageTimer final : public ForwardingBackend {
 public:
  explicit StageTimer(std::unique_ptr<Backend> backend)
      : ForwardingBackend(std::move(backend)) {}

  // Ends a step that took `seconds` in all, and `sampling` of them after its
  // ops. Ops since the step before count for this one. Steps of one `phase` do
  // the same work.
  void EndStep(int64_t phase, double seconds, double sampling);
  // Forgets the ops since the step before: their step is of no interest.
  void DropStep() { current_ = {}; }
  // Forgets all steps.
  void Clear();

  // For each stage, over the steps since Clear: {"op", "seconds_mean",
  // "seconds_p50", "seconds_p99", "seconds_max", "share_of_step" (of means),
  // "recurring_p99_over_p50": by RecurringTail}. The stage
  // "other" is what lies between the ops, "step" all of it.
  nlohmann::json ToJson() const;

  using ForwardingBackend::Run;
  absl::Status Run(const Embedding& op) override {
    return Timed(kEmbedding, op);
  }
  absl::Status Run(const ShortConvolution& op) override {
    return Timed(kShortConvolution, op);
  }
  absl::Status Run(const HierarchicalConvolution& op) override {
    return Timed(kLongConvolution, op);
  }
  absl::Status Run(const ExplicitConvolution& op) override {
    return Timed(kLongConvolution, op);
  }
  absl::Status Run(const Linear& op) override { return Timed(kLinear, op); }
  absl::Status Run(const LinearAttention& op) override {
    return Timed(kAttention, op);
  }
  absl::Status Run(const GatedOutput& op) override {
    return Timed(kGatedOutput, op);
  }
  absl::Status Run(const FeedForward& op) override {
    return Timed(kFeedForward, op);
  }
  absl::Status Run(const LogitsHead& op) override { return Timed(kHead, op); }

 private:
  enum Stage {
    kEmbedding,
    kShortConvolution,
    kLongConvolution,
    kLinear,
    kAttention,
    kGatedOutput,
    kFeedForward,
    kHead,
    kSampling,
    kOther,
    kStages
  };
  using Times = std::array<double, kStages>;  // seconds

  template <typename Op>
  absl::Status Timed(Stage stage, const Op& op) {
    const auto start = std::chrono::steady_clock::now();
    absl::Status status = backend().Run(op);
    const std::chrono::duration<double> elapsed =
        std::chrono::steady_clock::now() - start;
    current_[stage] += elapsed.count();
    return status;
  }

  Times current_ = {};
  std::vector<Times> steps_;
  std::vector<double> totals_;  // of the same steps
  std::vector<int64_t> phases_;
};

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_STAGE_TIMER_H_
