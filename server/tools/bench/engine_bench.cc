#include "server/tools/bench/engine_bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/status_macros.h"
#include "models/named_sizes.h"
#include "server/tools/bench/ceiling.h"
#include "server/tools/bench/decode_workload.h"
#include "server/tools/bench/host.h"
#include "server/tools/bench/paired_runs.h"
#include "server/tools/bench/step_bytes.h"

namespace chela::bench {
namespace {

using nlohmann::json;

// Steps of a pair are fewer than that long where a whole period takes longer.
constexpr double kMaxPairSeconds = 2;

template <typename T>
absl::Status CheckAll(const char* flag, const std::vector<T>& values, T least,
                      T most) {
  if (values.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": no value"));
  }
  for (const T value : values) {
    if (value >= least && value <= most) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(flag, ": ", value, "; want ", least, " to ", most));
  }
  return absl::OkStatus();
}

absl::Status Check(const EngineBenchOptions& options) {
  CHELA_RETURN_IF_ERROR(CheckAll<int32_t>("--batch", options.batches, 1, 4096));
  CHELA_RETURN_IF_ERROR(
      CheckAll<int64_t>("--position", options.positions, 1, int64_t{1} << 40));
  CHELA_RETURN_IF_ERROR(CheckAll<int64_t>("--chunk", options.chunks, 1, 65536));
  return CheckAll<int64_t>("--prefill", options.prefill_tokens, 0, 1 << 24);
}

absl::StatusOr<std::unique_ptr<DecodeWorkload>> Load(
    const EngineBenchOptions& options) {
  WorkloadOptions workload;
  workload.model_dir = options.model_dir;
  if (options.model_dir.empty()) {
    absl::StatusOr<ModelConfig> config =
        NamedSize(options.size, options.long_conv);
    if (!config.ok()) return config.status();
    workload.config = *std::move(config);
  }
  workload.backend = options.backend;
  if (options.int8_weights) workload.matrices = DType::kI8;
  workload.max_batch =
      *std::max_element(options.batches.begin(), options.batches.end());
  workload.max_chunk = static_cast<int32_t>(
      *std::max_element(options.chunks.begin(), options.chunks.end()));
  workload.sampling = options.sampling;
  workload.stages = options.stages;
  return DecodeWorkload::Create(workload);
}

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

absl::StatusOr<json> DecodeRow(const EngineBenchOptions& options, int32_t batch,
                               int64_t position, DecodeWorkload& workload,
                               Ceiling& ceiling) {
  const StepBytes bytes(workload.config(), workload.weights().head().dtype());
  CHELA_RETURN_IF_ERROR(
      workload.Seed(batch, position, options.spread, bytes.Period()));
  // The explicit kind repeats after M steps; its tiles are spread so that a
  // fraction of them already shows the busy ones.
  const int64_t min_steps = std::min<int64_t>(bytes.Period(), 512) *
                            options.periods * workload.copies();
  absl::StatusOr<PairOptions> plan = PlanPairs(options, min_steps, workload);
  if (!plan.ok()) return plan.status();
  const double step_bytes = bytes.Step(batch, options.spread);
  const auto step = [&workload] { return workload.Step(); };
  absl::StatusOr<PairedResult> result =
      options.control
          ? RunPairs(*plan, step_bytes, ceiling, step,
                     [&] { return ceiling.Move(std::llround(step_bytes)); })
          : RunPairs(*plan, step_bytes, ceiling, step);
  if (!result.ok()) return result.status();

  json row = result->ToJson();
  row["batch"] = batch;
  row["position"] = position;
  row["spread"] = options.spread;
  row["tokens_per_second"] = batch *
                             static_cast<double>(result->step_seconds.size()) /
                             result->total_seconds;
  row["sampling_seconds_mean"] = workload.sampling_seconds();
  row["weight_bytes"] = bytes.Weights(batch, options.spread);
  row["state_bytes_per_sequence"] = workload.state_bytes();
  row["state_traffic_bytes_per_token"] = bytes.State();
  row["step_bytes"] = step_bytes;
  if (options.stages) row["stages"] = workload.stages();
  if (options.control) {
    row["peer"] = "one read of step_bytes, in parts of 1 MiB";
  }
  return row;
}

absl::StatusOr<json> PrefillRow(int64_t tokens, int64_t chunk, double seconds,
                                DecodeWorkload& workload) {
  std::vector<double> rates;
  double total = 0;
  CHELA_RETURN_IF_ERROR(workload.Prefill(std::min(tokens, chunk), chunk));
  while (rates.size() < 3 || total < seconds) {
    const auto start = std::chrono::steady_clock::now();
    CHELA_RETURN_IF_ERROR(workload.Prefill(tokens, chunk));
    const std::chrono::duration<double> elapsed =
        std::chrono::steady_clock::now() - start;
    total += elapsed.count();
    rates.push_back(static_cast<double>(tokens) / elapsed.count());
  }
  const Spread spread = Summarize(rates);
  return json{{"tokens", tokens},
              {"chunk", chunk},
              {"tokens_per_second", spread.median},
              {"tokens_per_second_min", spread.min},
              {"tokens_per_second_max", spread.max},
              {"runs", rates.size()}};
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

// What --stages and --control add below a row's line.
void PrintDetails(const json& row, const Output& output) {
  const auto number = [&row](const char* name) {
    return row[name].get<double>();
  };
  if (row.contains("peer_seconds_p99")) {
    output.Line(absl::StrFormat(
        "       p99/p50: steps %.3f, reads of as many bytes %.3f",
        number("step_seconds_p99") / number("step_seconds_p50"),
        number("peer_seconds_p99") / number("peer_seconds_p50")));
  }
  if (!row.contains("stages")) return;
  for (const json& stage : row["stages"]) {
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

json Describe(const DecodeWorkload& workload) {
  const BackendInfo info = workload.backend_info();
  const ModelConfig& config = workload.config();
  return {{"machine", DescribeHost()},
          {"device",
           {{"name", info.name},
            {"device", info.device},
            {"kernels", info.kernels},
            {"threads", info.threads}}},
          {"model", json::parse(config.ToJson(), nullptr, false)},
          {"parameters", config.parameters()},
          {"matrices", Name(workload.weights().head().dtype())},
          {"weight_bytes_in_memory", workload.weights().size_bytes()},
          {"weight_copies", workload.copies()}};
}

absl::Status DecodeRows(const EngineBenchOptions& options,
                        DecodeWorkload& workload, Ceiling& ceiling,
                        const Output& output, json* object) {
  output.Line(
      " batch  position     p50 ms     p99 ms   tokens/s   MB/step "
      "   GB/s   share    IQR");
  std::vector<double> ceilings;
  for (const int32_t batch : options.batches) {
    for (const int64_t position : options.positions) {
      absl::StatusOr<json> row =
          DecodeRow(options, batch, position, workload, ceiling);
      if (!row.ok()) return row.status();
      output.Line(TableLine(*row));
      PrintDetails(*row, output);
      ceilings.push_back((*row)["ceiling_bytes_per_second"]);
      (*object)["rows"].push_back(*std::move(row));
    }
  }
  (*object)["ceiling_bytes_per_second"] = Summarize(ceilings).median;
  (*object)["ceilings"] = ceilings;
  return absl::OkStatus();
}

}  // namespace

absl::Status RunEngineBench(const EngineBenchOptions& options,
                            const Output& output) {
  CHELA_RETURN_IF_ERROR(Check(options));
  const CoreTimes start = ReadCoreTimes();
  absl::StatusOr<std::unique_ptr<DecodeWorkload>> workload = Load(options);
  if (!workload.ok()) return workload.status();
  absl::StatusOr<std::unique_ptr<Ceiling>> ceiling =
      MakeCeiling((*workload)->backend());
  if (!ceiling.ok()) return ceiling.status();

  json object = Describe(**workload);
  object["rows"] = json::array();
  object["prefill"] = json::array();
  const BackendInfo info = (*workload)->backend_info();
  output.Line(absl::StrCat(
      options.model_dir.empty() ? options.size : options.model_dir, ", ",
      (*workload)->config().parameters(), " parameters, ", info.device, ", ",
      info.kernels, ", ", info.threads, " threads, ", (*workload)->copies(),
      " copies of the weights take turns"));
  CHELA_RETURN_IF_ERROR(
      DecodeRows(options, **workload, **ceiling, output, &object));
  for (const int64_t tokens : options.prefill_tokens) {
    if (tokens == 0) continue;
    for (const int64_t chunk : options.chunks) {
      absl::StatusOr<json> row =
          PrefillRow(tokens, chunk, options.seconds, **workload);
      if (!row.ok()) return row.status();
      output.Line(absl::StrFormat(
          "prefill %d tokens, chunks of %d: %.1f "
          "tokens/s",
          tokens, chunk, (*row)["tokens_per_second"].get<double>()));
      object["prefill"].push_back(*std::move(row));
    }
  }
  const CoreTimes end = ReadCoreTimes();
  object["steal_seconds"] = end.steal_seconds - start.steal_seconds;
  object["others_seconds"] = end.others_seconds - start.others_seconds;
  return output.Write(object);
}

}  // namespace chela::bench
