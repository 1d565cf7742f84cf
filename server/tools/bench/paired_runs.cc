#include "server/tools/bench/paired_runs.h"

#include <algorithm>
#include <chrono>
#include <cstddef>

#include "kernels/status_macros.h"
#include "server/tools/bench/clock.h"
#include "server/tools/bench/host.h"

namespace chela::bench {
namespace {

using StepFunction = absl::FunctionRef<absl::Status()>;

struct Pair {
  std::vector<double> step_seconds;
  std::vector<double> peer_seconds;
  std::vector<double> ceilings;
  bool disturbed = false;
};

// What is measured in turns.
struct Subjects {
  StepFunction step;
  const StepFunction* peer;  // may be null
  Ceiling& ceiling;
};

absl::Status RunSteps(double seconds, StepFunction step,
                      std::vector<double>* step_seconds) {
  const auto start = Clock::now();
  do {
    const auto begin = Clock::now();
    CHELA_RETURN_IF_ERROR(step());
    step_seconds->push_back(SecondsSince(begin));
  } while (SecondsSince(start) < seconds);
  return absl::OkStatus();
}

// One slice of the step, the peer and the ceiling each, or the other way round.
absl::Status RunSlice(double seconds, bool backwards, const Subjects& subjects,
                      Pair* pair) {
  for (int i = 0; i < 3; ++i) {
    const int turn = backwards ? 2 - i : i;
    if (turn == 0) {
      CHELA_RETURN_IF_ERROR(
          RunSteps(seconds, subjects.step, &pair->step_seconds));
    } else if (turn == 1 && subjects.peer != nullptr) {
      CHELA_RETURN_IF_ERROR(
          RunSteps(seconds, *subjects.peer, &pair->peer_seconds));
    } else if (turn == 2) {
      pair->ceilings.push_back(subjects.ceiling.Measure(seconds));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Pair> RunPair(double seconds, bool backwards,
                             const Subjects& subjects) {
  Pair pair;
  const double others = ReadCoreTimes().others_seconds;
  const auto start = Clock::now();
  const int slices =
      2 * std::max(1, static_cast<int>(seconds / (2 * kSliceSeconds)));
  for (int slice = 0; slice < slices; ++slice) {
    CHELA_RETURN_IF_ERROR(RunSlice(
        seconds / slices, backwards != (slice % 2 == 1), subjects, &pair));
  }
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
  std::vector<double> peers;
  for (const Pair& pair : pairs) {
    const double step = Percentile(pair.step_seconds, 0.5);
    ceilings.push_back(Percentile(pair.ceilings, 0.5));
    shares.push_back(bytes / step / ceilings.back());
    if (!pair.peer_seconds.empty()) {
      peers.push_back(Percentile(pair.peer_seconds, 0.5) / step);
      result.peer_seconds.insert(result.peer_seconds.end(),
                                 pair.peer_seconds.begin(),
                                 pair.peer_seconds.end());
    }
    for (const double seconds : pair.step_seconds) {
      result.step_seconds.push_back(seconds);
      result.total_seconds += seconds;
    }
  }
  result.pairs = static_cast<int32_t>(pairs.size());
  result.share = Summarize(shares);
  result.ceiling = Summarize(ceilings);
  result.peer = Summarize(peers);
  return result;
}

}  // namespace

nlohmann::json PairedResult::ToJson() const {
  nlohmann::json row = {{"step_seconds_p50", Percentile(step_seconds, 0.5)},
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
  if (peer_seconds.empty()) return row;
  row["peer_seconds_p50"] = Percentile(peer_seconds, 0.5);
  row["peer_seconds_p99"] = Percentile(peer_seconds, 0.99);
  row["peer_ratio"] = peer.median;
  row["peer_ratio_min"] = peer.min;
  row["peer_ratio_max"] = peer.max;
  row["peer_ratio_iqr"] = peer.iqr;
  row["peer_conclusive"] = peer_conclusive;
  return row;
}

namespace {

absl::StatusOr<PairedResult> Run(const PairOptions& options, double bytes,
                                 const Subjects& subjects) {
  std::vector<double> warm_up;
  CHELA_RETURN_IF_ERROR(
      RunSteps(options.warm_up_seconds, subjects.step, &warm_up));
  const bool warm = WarmUp(options.seconds, subjects.ceiling);

  std::vector<Pair> pairs;
  int64_t steps = 0;
  int32_t kept = 0;
  int32_t disturbed = 0;
  while ((kept < options.pairs || steps < options.min_steps) &&
         disturbed < 2 * options.pairs) {
    absl::StatusOr<Pair> pair =
        RunPair(options.seconds, pairs.size() % 2 == 1, subjects);
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
  const bool enough = kept >= options.pairs;
  result.peer_conclusive = enough && result.peer.conclusive();
  result.conclusive = enough && result.share.conclusive() &&
                      (subjects.peer == nullptr || result.peer_conclusive);
  return result;
}

}  // namespace

absl::StatusOr<PairedResult> RunPairs(const PairOptions& options, double bytes,
                                      Ceiling& ceiling,
                                      absl::FunctionRef<absl::Status()> step) {
  return Run(options, bytes, {step, nullptr, ceiling});
}

absl::StatusOr<PairedResult> RunPairs(const PairOptions& options, double bytes,
                                      Ceiling& ceiling,
                                      absl::FunctionRef<absl::Status()> step,
                                      absl::FunctionRef<absl::Status()> peer) {
  return Run(options, bytes, {step, &peer, ceiling});
}

}  // namespace chela::bench
