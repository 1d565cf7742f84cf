#include "server/tools/bench/stage_timer.h"

#include <numeric>

#include "server/tools/bench/statistics.h"

namespace chela::bench {
namespace {

// In the order of StageTimer::Stage, and a whole step.
constexpr const char* kNames[] = {"embedding",
                                  "short_convolution",
                                  "long_convolution",
                                  "linear",
                                  "attention",
                                  "gated_output",
                                  "feed_forward",
                                  "head",
                                  "sampling",
                                  "other",
                                  "step"};

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) /
         static_cast<double>(values.size());
}

}  // namespace

void StageTimer::EndStep(int64_t phase, double seconds, double sampling) {
  current_[kSampling] = sampling;
  current_[kOther] =
      seconds - std::accumulate(current_.begin(), current_.end(), 0.0);
  steps_.push_back(current_);
  totals_.push_back(seconds);
  phases_.push_back(phase);
  current_ = {};
}

void StageTimer::Clear() {
  current_ = {};
  steps_.clear();
  totals_.clear();
  phases_.clear();
}

nlohmann::json StageTimer::ToJson() const {
  static_assert(std::size(kNames) == kStages + 1);
  nlohmann::json stages = nlohmann::json::array();
  if (steps_.empty()) return stages;
  for (int stage = 0; stage <= kStages; ++stage) {
    std::vector<double> own;
    for (size_t step = 0; step < steps_.size(); ++step) {
      own.push_back(stage == kStages ? totals_[step] : steps_[step][stage]);
    }
    stages.push_back({{"op", kNames[stage]},
                      {"seconds_mean", Mean(own)},
                      {"seconds_p50", Percentile(own, 0.5)},
                      {"seconds_p99", Percentile(own, 0.99)},
                      {"seconds_max", Percentile(own, 1)},
                      {"share_of_step", Mean(own) / Mean(totals_)},
                      {"recurring_p99_over_p50", RecurringTail(own, phases_)}});
  }
  return stages;
}

}  // namespace chela::bench
