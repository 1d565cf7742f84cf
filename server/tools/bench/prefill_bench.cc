#include "server/tools/bench/prefill_bench.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/status_macros.h"
#include "server/tools/bench/product_bench.h"
#include "server/tools/bench/statistics.h"
#include "server/tools/bench/step_bytes.h"

namespace chela::bench {

using nlohmann::json;

absl::StatusOr<std::unique_ptr<LayerProducts>> LayerProducts::Create(
    const ModelConfig& config, int32_t threads) {
  std::unique_ptr<LayerProducts> made(
      new LayerProducts(config.num_hidden_layers));
  for (const ProductShape& shape : ProductShapes(config)) {
    if (shape.name == "head") continue;
    absl::StatusOr<std::unique_ptr<OneDnnProduct>> product =
        OneDnnProduct::Create(kRows, shape.outputs, shape.inputs,
                              config.num_hidden_layers, threads);
    if (!product.ok()) return product.status();
    made->products_.push_back(*std::move(product));
  }
  return made;
}

absl::Status LayerProducts::Run() {
  for (int32_t layer = 0; layer < layers_; ++layer) {
    for (const std::unique_ptr<OneDnnProduct>& product : products_) {
      CHELA_RETURN_IF_ERROR(product->Run(layer));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<json> MeasurePrefill(const PrefillSize& size,
                                    const PairOptions& plan,
                                    LayerProducts* peer,
                                    DecodeWorkload& workload,
                                    Ceiling& ceiling) {
  workload.SetPositions({});
  const auto step = [&] { return workload.Prefill(size.tokens, size.chunk); };
  // What a chunk reads of the weights: a share of the ceiling says little here.
  const double bytes =
      StepBytes(workload.config(), workload.weights().head().dtype())
          .Weights(1, false);
  absl::StatusOr<PairedResult> result =
      peer == nullptr
          ? RunPairs(plan, bytes, ceiling, step)
          : RunPairs(plan, bytes, ceiling, step, [&] { return peer->Run(); });
  if (!result.ok()) return result.status();
  const auto tokens = static_cast<double>(size.tokens);
  const std::vector<double>& seconds = result->step_seconds;
  json row = {{"tokens", size.tokens},
              {"chunk", size.chunk},
              {"runs", seconds.size()},
              {"pairs", result->pairs},
              {"disturbed_pairs", result->disturbed_pairs},
              {"tokens_per_second", tokens / Percentile(seconds, 0.5)},
              {"tokens_per_second_min", tokens / Percentile(seconds, 1)},
              {"tokens_per_second_max", tokens / Percentile(seconds, 0)}};
  if (peer == nullptr) return row;
  // Per pair, the peer's time over ours.
  const double scale = tokens / LayerProducts::kRows;
  row["peer"] = absl::StrCat("oneDNN, products of all layers, ",
                             LayerProducts::kRows, " rows");
  row["peer_tokens_per_second"] =
      LayerProducts::kRows / Percentile(result->peer_seconds, 0.5);
  row["rate_ratio"] = scale * result->peer.median;
  row["rate_ratio_min"] = scale * result->peer.min;
  row["rate_ratio_max"] = scale * result->peer.max;
  row["rate_ratio_iqr"] = scale * result->peer.iqr;
  row["conclusive"] = result->peer_conclusive;
  return row;
}

std::string PrefillLine(const json& row) {
  std::string line =
      absl::StrFormat("prefill %d tokens, chunks of %d: %.1f tokens/s",
                      row["tokens"].get<int64_t>(), row["chunk"].get<int64_t>(),
                      row["tokens_per_second"].get<double>());
  if (row.contains("peer")) {
    absl::StrAppendFormat(
        &line, "; %s: %.1f tokens/s, x %.3f (IQR %.3f)%s",
        row["peer"].get<std::string>(),
        row["peer_tokens_per_second"].get<double>(),
        row["rate_ratio"].get<double>(), row["rate_ratio_iqr"].get<double>(),
        row["conclusive"].get<bool>() ? "" : "  inconclusive");
  }
  return line;
}

}  // namespace chela::bench
