#include "server/tools/bench/kernel_bench.h"

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/status_macros.h"
#include "models/named_sizes.h"
#include "server/tools/bench/ceiling.h"
#include "server/tools/bench/host.h"
#include "server/tools/bench/kernel_cases.h"
#include "server/tools/bench/onednn_product.h"
#include "server/tools/bench/paired_runs.h"
#include "server/tools/bench/prefill_cases.h"
#include "server/tools/bench/product_bench.h"
#include "server/tools/bench/product_pair_bench.h"

namespace chela::bench {
namespace {

using nlohmann::json;

PairOptions PlanOf(const KernelBenchOptions& options) {
  PairOptions plan;
  plan.seconds = options.seconds;
  plan.pairs = options.pairs;
  plan.warm_up_seconds = options.seconds;
  return plan;
}

absl::StatusOr<json> MeasureCase(const KernelBenchOptions& options,
                                 const KernelCase& kernel, Ceiling& ceiling) {
  int64_t call = 0;
  absl::StatusOr<PairedResult> result =
      RunPairs(PlanOf(options), kernel.bytes, ceiling,
               [&] { return kernel.run(call++); });
  if (!result.ok()) return result.status();
  json row = result->ToJson();
  row["op"] = kernel.op;
  row["shape"] = kernel.shape;
  row["bytes"] = kernel.bytes;
  row["calls"] = kernel.calls;
  return row;
}

void PrintCase(const std::string& size, int64_t rows, const KernelCase& kernel,
               const json& row, const Output& output) {
  const double seconds = row["step_seconds_p50"].get<double>();
  output.Line(absl::StrFormat(
      "%-5s %5d  %-22s %-16s %9.1f us %8.2f GB/s  %6.3f  IQR %.3f  %s", size,
      rows, kernel.op, kernel.shape,
      1e6 * seconds / static_cast<double>(kernel.calls),
      kernel.bytes / seconds / 1e9, row["share_of_ceiling"].get<double>(),
      row["share_iqr"].get<double>(),
      row["conclusive"].get<bool>() ? "" : "inconclusive"));
}

absl::StatusOr<KernelCase> MakePrefillCase(const std::string& op,
                                           Backend& backend,
                                           const ModelConfig& config,
                                           const PrefillShape& shape) {
  if (op == "attention") return AttentionPrefill(backend, config, shape);
  if (op == "hierarchical") return HierarchicalPrefill(backend, config, shape);
  return absl::InvalidArgumentError(absl::StrCat(
      "--prefill: no op ", op, "; want attention or hierarchical"));
}

absl::Status MeasurePrefill(const KernelBenchOptions& options,
                            const std::string& size, Backend& backend,
                            Ceiling& ceiling, const Output& output,
                            json* object) {
  absl::StatusOr<ModelConfig> config =
      NamedSize(size, LongConvKind::kHierarchical);
  if (!config.ok()) return config.status();
  for (const std::string& op : options.prefill) {
    for (const int32_t sequences : options.sequences) {
      const PrefillShape shape = {sequences, options.tokens};
      absl::StatusOr<KernelCase> kernel =
          MakePrefillCase(op, backend, *config, shape);
      if (!kernel.ok()) return kernel.status();
      absl::StatusOr<json> row = MeasureCase(options, *kernel, ceiling);
      if (!row.ok()) return row.status();
      (*row)["size"] = size;
      (*row)["rows"] = shape.rows();
      PrintCase(size, shape.rows(), *kernel, *row, output);
      (*object)["rows"].push_back(*std::move(row));
    }
  }
  return absl::OkStatus();
}

// The products of a size for `rows` rows, beside the peer that the device has.
absl::Status MeasureProductsOf(const KernelBenchOptions& options,
                               const std::string& size,
                               const ModelConfig& config, int32_t rows,
                               Backend& backend, Ceiling& ceiling,
                               const Output& output, json* products) {
  if (options.backend.kind != BackendKind::kCuda) {
    absl::StatusOr<json> object = MeasureProducts(
        size, config, rows, PlanOf(options), backend, ceiling, output);
    if (!object.ok()) return object.status();
    products->push_back(*std::move(object));
    return absl::OkStatus();
  }
  for (const bool chunk : {false, true}) {
    if (chunk && rows < kChunkRows) continue;
    absl::StatusOr<json> object =
        MeasureProductPairs(size, config, rows, chunk, PlanOf(options),
                            options.backend, ceiling, output);
    if (!object.ok()) return object.status();
    products->push_back(*std::move(object));
  }
  return absl::OkStatus();
}

absl::Status MeasureSize(const KernelBenchOptions& options,
                         const std::string& size, Backend& backend,
                         Ceiling& ceiling, const Output& output, json* object) {
  absl::StatusOr<ModelConfig> config =
      NamedSize(size, LongConvKind::kHierarchical);
  if (!config.ok()) return config.status();
  for (const int32_t m : options.rows) {
    CHELA_RETURN_IF_ERROR(MeasureProductsOf(options, size, *config, m, backend,
                                            ceiling, output,
                                            &(*object)["products"]));
    if (options.products_only) continue;
    absl::StatusOr<std::vector<KernelCase>> cases =
        MakeKernelCases(backend, *config, m, options.position);
    if (!cases.ok()) return cases.status();
    for (const KernelCase& kernel : *cases) {
      absl::StatusOr<json> row = MeasureCase(options, kernel, ceiling);
      if (!row.ok()) return row.status();
      (*row)["size"] = size;
      (*row)["rows"] = m;
      PrintCase(size, m, kernel, *row, output);
      (*object)["rows"].push_back(*std::move(row));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckRows(const std::vector<int32_t>& rows) {
  for (const int32_t one : rows) {
    if (one < 1 || one > 4096) {
      return absl::InvalidArgumentError(
          absl::StrCat("--rows: ", one, "; want 1 to 4096"));
    }
  }
  return absl::OkStatus();
}

absl::Status RunKernelBench(const KernelBenchOptions& options,
                            const Output& output) {
  CHELA_RETURN_IF_ERROR(CheckRows(options.rows));
  for (const int32_t sequences : options.sequences) {
    if (sequences < 1 || int64_t{sequences} * options.tokens > (1 << 20)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--sequences: ", sequences, " of ", options.tokens,
          " tokens; want at least one, and 1048576 tokens at most"));
    }
  }
  absl::StatusOr<std::unique_ptr<Backend>> backend =
      MakeBackend(options.backend);
  if (!backend.ok()) return backend.status();
  const BackendInfo info = (*backend)->Info();
  absl::StatusOr<std::unique_ptr<Ceiling>> ceiling = MakeCeiling(**backend);
  if (!ceiling.ok()) return ceiling.status();

  json object = {
      {"machine", DescribeHost()},
      {"device",
       {{"name", info.name},
        {"device", info.device},
        {"kernels", info.kernels},
        {"threads", info.threads}}},
      {"peer", options.backend.kind == BackendKind::kCuda ? "cuBLASLt"
               : OneDnnProduct::Available()               ? "oneDNN"
                                                          : ""},
      {"products", json::array()},
      {"rows", json::array()}};
  for (const std::string& size : options.sizes) {
    const auto measure = options.prefill.empty() ? MeasureSize : MeasurePrefill;
    CHELA_RETURN_IF_ERROR(
        measure(options, size, **backend, **ceiling, output, &object));
  }
  return output.Write(object);
}

}  // namespace chela::bench
