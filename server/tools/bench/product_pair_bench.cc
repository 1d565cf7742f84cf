#include "server/tools/bench/product_pair_bench.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/product_pair.h"
#include "kernels/status_macros.h"
#include "server/tools/bench/product_bench.h"
#include "server/tools/bench/step_bytes.h"

namespace chela::bench {
namespace {

using nlohmann::json;

constexpr double kBytesPastCaches = 512 << 20;

PairedProduct::End EndOf(const std::string& product,
                         const ModelConfig& config) {
  using End = PairedProduct::End;
  if (product == "out_proj") return End::kGated;
  if (product == "ffn_down") return End::kResidual;
  if (product == "ffn_up" && config.ffn == FeedForwardKind::kSwiglu) {
    return End::kSwiglu;
  }
  return End::kStore;
}

absl::StatusOr<json> Measure(const ProductShape& shape,
                             const PairedProduct& product,
                             const PairOptions& plan,
                             const BackendOptions& device, Ceiling& ceiling) {
  absl::StatusOr<std::unique_ptr<ProductPair>> pair =
      MakeProductPair(device, product);
  if (!pair.ok()) return pair.status();
  const double bytes =
      2.0 * static_cast<double>(product.outputs * product.inputs);
  const auto calls = static_cast<double>((*pair)->calls());
  absl::StatusOr<PairedResult> result = RunPairs(
      plan, bytes * calls, ceiling, [&] { return (*pair)->RunOwn(); },
      [&] { return (*pair)->RunPeer(); });
  if (!result.ok()) return result.status();
  json row = result->ToJson();
  row["product"] = shape.name;
  row["shape"] = absl::StrCat(shape.outputs, " x ", shape.inputs);
  row["bytes"] = bytes;
  row["calls"] = (*pair)->calls();
  row["product_seconds"] = row["step_seconds_p50"].get<double>() / calls;
  row["peer_product_seconds"] = row["peer_seconds_p50"].get<double>() / calls;
  row["peer"] = (*pair)->peer();
  row["algorithms"] = (*pair)->algorithms();
  return row;
}

std::string Line(const std::string& size, const PairedProduct& product,
                 const json& row) {
  return absl::StrFormat(
      "%-5s %4d %-6s  %-12s %-14s %8.2f us, share %5.3f  cuBLASLt %8.2f us  x "
      "%5.3f IQR %.3f  (of %d: %s)%s",
      size, product.rows, product.chunk ? "chunk" : "decode",
      row["product"].get<std::string>(), row["shape"].get<std::string>(),
      1e6 * row["product_seconds"].get<double>(),
      row["share_of_ceiling"].get<double>(),
      1e6 * row["peer_product_seconds"].get<double>(),
      1.0 / row["peer_ratio"].get<double>(),
      row["peer_ratio_iqr"].get<double>(), row["algorithms"].get<int>(),
      row["peer"].get<std::string>(),
      row["conclusive"].get<bool>() ? "" : "  inconclusive");
}

}  // namespace

absl::StatusOr<json> MeasureProductPairs(
    const std::string& size, const ModelConfig& config, int32_t rows,
    bool chunk, const PairOptions& plan, const BackendOptions& device,
    Ceiling& ceiling, const Output& output) {
  json object = {{"size", size},
                 {"rows", rows},
                 {"chunk", chunk},
                 {"products", json::array()}};
  double ours = 0;
  double theirs = 0;
  double worst = 0;
  std::vector<double> ceilings;
  for (const ProductShape& shape : ProductShapes(config)) {
    const double bytes =
        2.0 * static_cast<double>(shape.outputs * shape.inputs);
    PairedProduct product;
    product.outputs = shape.outputs;
    product.inputs = shape.inputs;
    product.rows = rows;
    product.end = EndOf(shape.name, config);
    product.chunk = chunk;
    product.copies =
        std::max<int64_t>(1, std::llround(std::ceil(kBytesPastCaches / bytes)));
    absl::StatusOr<json> row = Measure(shape, product, plan, device, ceiling);
    if (!row.ok()) return row.status();
    output.Line(Line(size, product, *row));
    ours += shape.times * (*row)["product_seconds"].get<double>();
    theirs += shape.times * (*row)["peer_product_seconds"].get<double>();
    worst = std::max(worst, 1.0 / (*row)["peer_ratio"].get<double>());
    ceilings.push_back((*row)["ceiling_bytes_per_second"].get<double>());
    object["products"].push_back(*std::move(row));
  }
  object["worst"] = worst;
  if (chunk) return object;
  const double state =
      rows * StepBytes(config).State() / Summarize(ceilings).median;
  object["seconds_step"] = ours;
  object["peer_seconds_step"] = theirs;
  object["state_seconds"] = state;
  object["step_ceiling_seconds"] = theirs + state;
  output.Line(absl::StrFormat(
      "%-5s %4d  products of a step: %.1f us, cuBLASLt %.1f us (x %.3f); with "
      "the states at the copy's speed, %.1f us, a step's ceiling is %.1f us",
      size, rows, 1e6 * ours, 1e6 * theirs, ours / theirs, 1e6 * state,
      1e6 * (theirs + state)));
  return object;
}

}  // namespace chela::bench
