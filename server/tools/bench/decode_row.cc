#include "server/tools/bench/decode_row.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/status_macros.h"
#include "server/tools/bench/paired_runs.h"
#include "server/tools/bench/statistics.h"
#include "server/tools/bench/step_bytes.h"

namespace chela::bench {
namespace {

using nlohmann::json;

// Steps of a pair are fewer than that long where a whole period takes longer.
constexpr double kMaxPairSeconds = 2;

// Pairs long enough that together they hold the wanted periods of the long
// convolution, so that its busiest steps are among those timed.
absl::StatusOr<PairOptions> PlanPairs(const EngineBenchOptions& options,
                                      int64_t min_steps,
                                      DecodeWorkload& workload) {
  PairOptions plan;
  plan.pairs = options.pairs;
  plan.min_steps = min_steps;
  constexpr int kProbes = 3;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kProbes; ++i) CHELA_RETURN_IF_ERROR(workload.Step());
  const std::chrono::duration<double> elapsed =
      std::chrono::steady_clock::now() - start;
  const double wanted = elapsed.count() / kProbes *
                        static_cast<double>(min_steps) / options.pairs;
  plan.seconds = std::max(options.seconds, std::min(wanted, kMaxPairSeconds));
  return plan;
}

// The ratios of a row to the base row that was stepped in turn with it.
void AddRatios(const PairedResult& result, double batch_ratio,
               double bytes_ratio, json* row) {
  const Spread& peer = result.peer;  // base time / time
  (*row)["tokens_per_second_ratio"] = batch_ratio * peer.median;
  (*row)["tokens_per_second_ratio_min"] = batch_ratio * peer.min;
  (*row)["tokens_per_second_ratio_max"] = batch_ratio * peer.max;
  (*row)["tokens_per_second_ratio_iqr"] = batch_ratio * peer.iqr;
  if (peer.median == 0) return;
  (*row)["step_ratio"] = 1 / peer.median;
  (*row)["bytes_ratio"] = bytes_ratio;
  (*row)["step_ratio_over_bytes_ratio"] = 1 / peer.median / bytes_ratio;
}

std::string TableLine(const json& row) {
  return absl::StrFormat(
      "%6d %9d %10.3f %10.3f %10.1f %9.1f %7.2f %7.3f %6.3f  %s",
      row["batch"].get<int>(), row["position"].get<int64_t>(),
      1e3 * row["step_seconds_p50"].get<double>(),
      1e3 * row["step_seconds_p99"].get<double>(),
      row["tokens_per_second"].get<double>(),
      row["step_bytes"].get<double>() / 1e6,
      row["ceiling_bytes_per_second"].get<double>() / 1e9,
      row["share_of_ceiling"].get<double>(), row["share_iqr"].get<double>(),
      row["conclusive"].get<bool>() ? "" : "inconclusive");
}

// What --stages, --control and --in-turn add below a row's line.
void PrintDetails(const json& row, const Output& output) {
  const auto number = [&row](const char* name) {
    return row[name].get<double>();
  };
  if (row.contains("step_ratio")) {
    output.Line(absl::StrFormat(
        "       against %s: tokens/s x %.3f (IQR %.3f); step x %.3f, bytes x "
        "%.3f: %.3f%s",
        row["peer"].get<std::string>(), number("tokens_per_second_ratio"),
        number("tokens_per_second_ratio_iqr"), number("step_ratio"),
        number("bytes_ratio"), number("step_ratio_over_bytes_ratio"),
        row["peer_conclusive"].get<bool>() ? "" : "  inconclusive"));
  } else if (row.contains("peer_seconds_p99")) {
    output.Line(absl::StrFormat(
        "       p99/p50: steps %.3f, reads of as many bytes %.3f",
        number("step_seconds_p99") / number("step_seconds_p50"),
        number("peer_seconds_p99") / number("peer_seconds_p50")));
  }
  if (row.contains("stages")) PrintStages(row["stages"], output);
}

}  // namespace

absl::StatusOr<json> MeasureDecode(const EngineBenchOptions& options,
                                   const RowSize& size, const RowSize* base,
                                   DecodeWorkload& workload, Ceiling& ceiling) {
  const StepBytes bytes(workload.config(), workload.weights().head().dtype());
  const auto place = [&](const RowSize& at) {
    return DecodeWorkload::Sequences{at.batch, at.position, options.spread,
                                     bytes.Period()};
  };
  CHELA_RETURN_IF_ERROR(workload.Seed(place(size)));
  if (base != nullptr) {
    CHELA_RETURN_IF_ERROR(workload.Seed(place(*base), DecodeWorkload::kBase));
  }
  // The explicit kind repeats after M steps; its tiles are spread so that a
  // fraction of them already shows the busy ones.
  const int64_t min_steps = std::min<int64_t>(bytes.Period(), 512) *
                            options.periods * workload.copies();
  absl::StatusOr<PairOptions> plan = PlanPairs(options, min_steps, workload);
  if (!plan.ok()) return plan.status();
  const double step_bytes = bytes.Step(size.batch, options.spread);
  const auto step = [&workload] { return workload.Step(); };
  const auto peer = [&]() -> absl::Status {
    return base != nullptr ? workload.Step(DecodeWorkload::kBase)
                           : ceiling.Move(std::llround(step_bytes));
  };
  absl::StatusOr<PairedResult> result =
      base != nullptr || options.control
          ? RunPairs(*plan, step_bytes, ceiling, step, peer)
          : RunPairs(*plan, step_bytes, ceiling, step);
  if (!result.ok()) return result.status();

  json row = result->ToJson();
  row["batch"] = size.batch;
  row["position"] = size.position;
  row["spread"] = options.spread;
  row["tokens_per_second"] = size.batch *
                             static_cast<double>(result->step_seconds.size()) /
                             result->total_seconds;
  row["sampling_seconds_mean"] = workload.sampling_seconds();
  row["weight_bytes"] = bytes.Weights(size.batch, options.spread);
  row["state_bytes_per_sequence"] = workload.state_bytes();
  row["state_traffic_bytes_per_token"] = bytes.State();
  row["step_bytes"] = step_bytes;
  if (options.stages) row["stages"] = workload.stages();
  if (base != nullptr) {
    row["peer"] =
        absl::StrCat("batch ", base->batch, " at position ", base->position);
    AddRatios(*result, static_cast<double>(size.batch) / base->batch,
              step_bytes / bytes.Step(base->batch, options.spread), &row);
  } else if (options.control) {
    row["peer"] = "one read of step_bytes, in parts of 1 MiB";
  }
  return row;
}

void PrintDecodeHead(const Output& output) {
  output.Line(
      " batch  position     p50 ms     p99 ms   tokens/s   MB/step "
      "   GB/s   share    IQR");
}

void PrintDecode(const json& row, const Output& output) {
  output.Line(TableLine(row));
  PrintDetails(row, output);
}

void PrintStages(const json& stages, const Output& output) {
  for (const json& stage : stages) {
    const auto us = [&stage](const char* name) {
      return 1e6 * stage[name].get<double>();
    };
    output.Line(absl::StrFormat(
        "       %-18s mean %9.1f us, p50 %9.1f, p99 %9.1f; %6.2f%% of a step; "
        "recurring p99/p50 %.3f",
        stage["op"].get<std::string>(), us("seconds_mean"), us("seconds_p50"),
        us("seconds_p99"), 100 * stage["share_of_step"].get<double>(),
        stage["recurring_p99_over_p50"].get<double>()));
  }
}

}  // namespace chela::bench
