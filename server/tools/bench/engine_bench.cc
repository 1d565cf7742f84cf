#include "server/tools/bench/engine_bench.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/status_macros.h"
#include "models/named_sizes.h"
#include "server/tools/bench/ceiling.h"
#include "server/tools/bench/decode_row.h"
#include "server/tools/bench/decode_workload.h"
#include "server/tools/bench/host.h"
#include "server/tools/bench/paired_runs.h"
#include "server/tools/bench/prefill_bench.h"
#include "server/tools/bench/statistics.h"

namespace chela::bench {
namespace {

using nlohmann::json;

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
  if (options.in_turn && options.control) {
    return absl::InvalidArgumentError(
        "--in-turn, --control: a row has one peer; want one of them");
  }
  if (options.onednn && options.backend.kind != BackendKind::kCpu) {
    return absl::InvalidArgumentError(
        "--onednn: its products run on the CPU; want --device cpu");
  }
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
  workload.attention_replay = options.attention_replay;
  if (options.int8_weights) workload.matrices = DType::kI8;
  workload.max_batch =
      *std::max_element(options.batches.begin(), options.batches.end());
  workload.max_chunk = static_cast<int32_t>(
      *std::max_element(options.chunks.begin(), options.chunks.end()));
  workload.sampling = options.sampling;
  workload.stages = options.stages;
  if (options.in_turn) workload.base_batch = options.batches.front();
  return DecodeWorkload::Create(workload);
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
          {"attention_replay", config.attention_replay},
          {"matrices", Name(workload.weights().head().dtype())},
          {"weight_bytes_in_memory", workload.weights().size_bytes()},
          {"weight_copies", workload.copies()}};
}

absl::Status DecodeRows(const EngineBenchOptions& options,
                        DecodeWorkload& workload, Ceiling& ceiling,
                        const Output& output, json* object) {
  PrintDecodeHead(output);
  std::vector<double> ceilings;
  const RowSize first = {options.batches.front(), options.positions.front()};
  for (const int32_t batch : options.batches) {
    for (const int64_t position : options.positions) {
      const RowSize* base =
          options.in_turn && !ceilings.empty() ? &first : nullptr;
      absl::StatusOr<json> row =
          MeasureDecode(options, {batch, position}, base, workload, ceiling);
      if (!row.ok()) return row.status();
      PrintDecode(*row, output);
      ceilings.push_back((*row)["ceiling_bytes_per_second"]);
      (*object)["rows"].push_back(*std::move(row));
    }
  }
  (*object)["ceiling_bytes_per_second"] = Summarize(ceilings).median;
  (*object)["ceilings"] = ceilings;
  return absl::OkStatus();
}

absl::Status PrefillRows(const EngineBenchOptions& options,
                         DecodeWorkload& workload, Ceiling& ceiling,
                         const Output& output, json* object) {
  std::unique_ptr<LayerProducts> peer;
  const bool any = *std::max_element(options.prefill_tokens.begin(),
                                     options.prefill_tokens.end()) > 0;
  if (options.onednn && any) {
    absl::StatusOr<std::unique_ptr<LayerProducts>> made = LayerProducts::Create(
        workload.config(), workload.backend_info().threads);
    if (!made.ok()) return made.status();
    peer = *std::move(made);
  }
  PairOptions plan;
  plan.seconds = options.seconds;
  plan.pairs = options.pairs;
  plan.warm_up_seconds = options.seconds;
  for (const int64_t tokens : options.prefill_tokens) {
    if (tokens == 0) continue;
    for (const int64_t chunk : options.chunks) {
      absl::StatusOr<json> row =
          MeasurePrefill({tokens, chunk}, plan, peer.get(), workload, ceiling);
      if (!row.ok()) return row.status();
      output.Line(PrefillLine(*row));
      if (options.stages) {
        (*row)["stages"] = workload.stages();
        PrintStages((*row)["stages"], output);
      }
      (*object)["prefill"].push_back(*std::move(row));
    }
  }
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
  CHELA_RETURN_IF_ERROR(
      PrefillRows(options, **workload, **ceiling, output, &object));
  const CoreTimes end = ReadCoreTimes();
  object["steal_seconds"] = end.steal_seconds - start.steal_seconds;
  object["others_seconds"] = end.others_seconds - start.others_seconds;
  return output.Write(object);
}

}  // namespace chela::bench
