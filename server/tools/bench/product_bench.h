#ifndef CHELA_SERVER_TOOLS_BENCH_PRODUCT_BENCH_H_
#define CHELA_SERVER_TOOLS_BENCH_PRODUCT_BENCH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "models/model_config.h"
#include "nlohmann/json.hpp"
#include "server/tools/bench/output.h"
#include "server/tools/bench/paired_runs.h"

namespace chela::bench {

// A weight matrix of a model and how often a token passes through it.
struct ProductShape {
  std::string name;  // "ffn_up"
  int64_t outputs = 0;
  int64_t inputs = 0;
  int32_t times = 1;  // the layers, or 1 for the head
};
std::vector<ProductShape> ProductShapes(const ModelConfig& config);

// Every product of `config` as Linear, bias and rounding of the left operand
// included, for `rows` rows, with copies of the weights that are past the
// caches, beside the read ceiling and, where the build has it, oneDNN's bf16
// inner product. A line each goes to `output`. The object: {"size", "rows",
// "products": [row + "product", "shape"], "peer_ratio_median",
// "peer_ratio_worst", "seconds_all_layers", "peer_seconds_all_layers"}; the
// last two are the times of all layers' products (without the head).
absl::StatusOr<nlohmann::json> MeasureProducts(
    const std::string& size, const ModelConfig& config, int32_t rows,
    const PairOptions& plan, Backend& backend, Ceiling& ceiling,
    const Output& output);

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_PRODUCT_BENCH_H_
