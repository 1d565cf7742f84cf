#include "server/tools/bench/product_bench.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/status_macros.h"
#include "server/tools/bench/kernel_case_data.h"
#include "server/tools/bench/onednn_product.h"

namespace chela::bench {
namespace {

using nlohmann::json;

absl::StatusOr<PairedResult> Measure(const ProductShape& shape, int32_t rows,
                                     const PairOptions& plan, Backend& backend,
                                     Ceiling& ceiling) {
  const double bytes = 2.0 * static_cast<double>(shape.outputs * shape.inputs);
  const int64_t copies = CopiesPastCaches(bytes);
  CaseData data(backend, rows, 0);
  data.AddMatrices(shape.outputs, shape.inputs, copies, &data.first);
  Linear op;
  op.x = data.Floats(rows * shape.inputs);
  op.bias = data.Floats(shape.outputs);
  op.out = data.Floats(rows * shape.outputs);
  CHELA_RETURN_IF_ERROR(data.status());
  int64_t call = 0;
  const auto step = [&]() -> absl::Status {
    op.weight = data.first[call++ % copies].get();
    return backend.Run(op);
  };
  CHELA_RETURN_IF_ERROR(data.BeginStep(0, 0));
  if (!OneDnnProduct::Available()) return RunPairs(plan, bytes, ceiling, step);
  absl::StatusOr<std::unique_ptr<OneDnnProduct>> peer = OneDnnProduct::Create(
      rows, shape.outputs, shape.inputs, copies, backend.Info().threads);
  if (!peer.ok()) return peer.status();
  int64_t peer_call = 0;
  return RunPairs(plan, bytes, ceiling, step,
                  [&] { return (*peer)->Run(peer_call++); });
}

std::string Line(const std::string& size, int32_t rows, const json& row) {
  std::string line = absl::StrFormat(
      "%-5s %4d  %-12s %-14s %9.1f us %7.2f GB/s  share %5.3f", size, rows,
      row["product"].get<std::string>(), row["shape"].get<std::string>(),
      1e6 * row["step_seconds_p50"].get<double>(),
      row["bytes"].get<double>() / row["step_seconds_p50"].get<double>() / 1e9,
      row["share_of_ceiling"].get<double>());
  if (row.contains("peer_ratio")) {
    absl::StrAppendFormat(&line, "  oneDNN %9.1f us, x %5.3f IQR %.3f",
                          1e6 * row["peer_seconds_p50"].get<double>(),
                          row["peer_ratio"].get<double>(),
                          row["peer_ratio_iqr"].get<double>());
  }
  return absl::StrCat(line,
                      row["conclusive"].get<bool>() ? "" : "  inconclusive");
}

}  // namespace

std::vector<ProductShape> ProductShapes(const ModelConfig& config) {
  const int64_t d = config.hidden_size;
  const int64_t v = config.value_dim;
  const int64_t f = config.intermediate_size;
  const int64_t up = config.ffn == FeedForwardKind::kSwiglu ? 2 * f : f;
  const int32_t layers = config.num_hidden_layers;
  return {{"projections", config.projection_rows(), d, layers},
          {"value_proj", v, d, layers},
          {"out_proj", d, v, layers},
          {"ffn_up", up, d, layers},
          {"ffn_down", d, f, layers},
          {"head", config.vocab_size, d, 1}};
}

absl::StatusOr<json> MeasureProducts(const std::string& size,
                                     const ModelConfig& config, int32_t rows,
                                     const PairOptions& plan, Backend& backend,
                                     Ceiling& ceiling, const Output& output) {
  json object = {{"size", size}, {"rows", rows}, {"products", json::array()}};
  std::vector<double> ratios;
  double ours = 0;
  double theirs = 0;
  for (const ProductShape& shape : ProductShapes(config)) {
    const absl::StatusOr<PairedResult> result =
        Measure(shape, rows, plan, backend, ceiling);
    if (!result.ok()) return result.status();
    json row = result->ToJson();
    row["product"] = shape.name;
    row["shape"] = absl::StrCat(shape.outputs, " x ", shape.inputs);
    row["bytes"] = 2 * shape.outputs * shape.inputs;
    output.Line(Line(size, rows, row));
    const bool in_layers = shape.name != "head";
    if (in_layers) ours += shape.times * row["step_seconds_p50"].get<double>();
    if (row.contains("peer_ratio")) {
      ratios.push_back(row["peer_ratio"]);
      if (in_layers) {
        theirs += shape.times * row["peer_seconds_p50"].get<double>();
      }
    }
    object["products"].push_back(std::move(row));
  }
  object["seconds_all_layers"] = ours;
  if (ratios.empty()) return object;
  const Spread spread = Summarize(ratios);
  object["peer_ratio_median"] = spread.median;
  object["peer_ratio_worst"] = spread.min;
  object["peer_seconds_all_layers"] = theirs;
  output.Line(absl::StrFormat(
      "%-5s %4d  against oneDNN: median shape x %.3f, worst x %.3f", size, rows,
      spread.median, spread.min));
  return object;
}

}  // namespace chela::bench
