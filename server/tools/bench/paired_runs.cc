#include "server/tools/bench/paired_runs.h"

#include <algorithm>
#include <chrono>
#include <cstddef>

#include "kernels/status_macros.h"
#include "server/tools/bench/host.h"

namespace chela::bench {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Pair {
  std::vector<double> step_seconds;
  double ceiling = 0;
  bool disturbed = false;
};

absl::Status RunSteps(double seconds, absl::FunctionRef<absl::Status()> step,
                      std::vector<double>* step_seconds) {
  const auto start = Clock::now();
  do {
    const auto begin = Clock::now();
    CHELA_RETURN_IF_ERROR(step());
    step_seconds->push_back(SecondsSince(begin));
  } while (SecondsSince(start) < seconds);
  return absl::OkStatus();
}

absl::StatusOr<Pair> RunPair(double seconds, bool steps_first, Ceiling& ceiling,
                             absl::FunctionRef<absl::Status()> step) {
  Pair pair;
  const double others = ReadCoreTimes().others_seconds;
  const auto start = Clock::now();
  if (!steps_first) pair.ceiling = ceiling.Measure(seconds);
  CHELA_RETURN_IF_ERROR(RunSteps(seconds, step, &pair.step_seconds));
  if (steps_first) pair.ceiling = ceiling.Measure(seconds);
  // The system counts in ticks of 10 ms: two of them are none.
  const double allowed =
      std::max(0.02, 0.02 * HostCores() * SecondsSince(start));
  pair.disturbed = ReadCoreTimes().others_seconds - others > allowed;
  return pair;
}

// Until the machine runs at one speed, but not forever on a busy one.
bool WarmUp(double seconds, Ceiling& ceiling) {
  std::vector<double> rates;
  for (int tries = 0; tries < 8; ++tries) {
    rates.push_back(ceiling.Measure(std::min(0.25, seconds)));
    if (rates.size() < 3) continue;
    const auto [low, high] = std::minmax_element(rates.end() - 3, rates.end());
    if (*high <= 1.03 * *low) return true;
  }
  return false;
}

PairedResult Evaluate(std::vector<Pair> pairs, double bytes) {
  PairedResult result;
  const auto first_disturbed = std::stable_partition(
      pairs.begin(), pairs.end(), [](const Pair& p) { return !p.disturbed; });
  result.disturbed_pairs = static_cast<int32_t>(pairs.end() - first_disturbed);
  if (first_disturbed != pairs.begin()) {
    pairs.erase(first_disturbed, pairs.end());
  }
  std::vector<double> shares;
  std::vector<double> ceilings;
  for (const Pair& pair : pairs) {
    shares.push_back(bytes / Percentile(pair.step_seconds, 0.5) / pair.ceiling);
    ceilings.push_back(pair.ceiling);
    for (const double seconds : pair.step_seconds) {
      result.step_seconds.push_back(seconds);
      result.total_seconds += seconds;
    }
  }
  result.pairs = static_cast<int32_t>(pairs.size());
  result.share = Summarize(shares);
  result.ceiling = Summarize(ceilings);
  return result;
}

}  // namespace

nlohmann::json PairedResult::ToJson() const {
  return {{"step_seconds_p50", Percentile(step_seconds, 0.5)},
          {"step_seconds_p99", Percentile(step_seconds, 0.99)},
          {"steps", step_seconds.size()},
          {"share_of_ceiling", share.median},
          {"share_min", share.min},
          {"share_max", share.max},
          {"share_iqr", share.iqr},
          {"conclusive", conclusive},
          {"ceiling_bytes_per_second", ceiling.median},
          {"pairs", pairs},
          {"disturbed_pairs", disturbed_pairs},
          {"warm", warm}};
}

absl::StatusOr<PairedResult> RunPairs(const PairOptions& options, double bytes,
                                      Ceiling& ceiling,
                                      absl::FunctionRef<absl::Status()> step) {
  std::vector<double> warm_up;
  CHELA_RETURN_IF_ERROR(RunSteps(options.warm_up_seconds, step, &warm_up));
  const bool warm = WarmUp(options.seconds, ceiling);

  std::vector<Pair> pairs;
  int64_t steps = 0;
  int32_t kept = 0;
  int32_t disturbed = 0;
  while ((kept < options.pairs || steps < options.min_steps) &&
         disturbed < 2 * options.pairs) {
    absl::StatusOr<Pair> pair =
        RunPair(options.seconds, pairs.size() % 2 == 0, ceiling, step);
    if (!pair.ok()) return pair.status();
    if (pair->disturbed) {
      ++disturbed;
    } else {
      ++kept;
      steps += static_cast<int64_t>(pair->step_seconds.size());
    }
    pairs.push_back(*std::move(pair));
  }
  PairedResult result = Evaluate(std::move(pairs), bytes);
  result.warm = warm;
  result.conclusive = kept >= options.pairs && result.share.conclusive();
  return result;
}

}  // namespace chela::bench
