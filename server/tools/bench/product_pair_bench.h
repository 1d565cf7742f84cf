#ifndef CHELA_SERVER_TOOLS_BENCH_PRODUCT_PAIR_BENCH_H_
#define CHELA_SERVER_TOOLS_BENCH_PRODUCT_PAIR_BENCH_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "models/model_config.h"
#include "nlohmann/json.hpp"
#include "server/tools/bench/ceiling.h"
#include "server/tools/bench/output.h"
#include "server/tools/bench/paired_runs.h"

namespace chela::bench {

// Rows of a prompt's chunk, from which on products are measured both as decode
// rows and as a chunk.
inline constexpr int32_t kChunkRows = 256;

// Every product of `config` for `rows` rows in turn with the fastest of the
// algorithms that the device's library names (kernels/product_pair.h). A line
// each goes to `output`. The object: {"size", "rows", "chunk", "products": [row
// + "product", "shape", "product_seconds", "peer_product_seconds", "peer",
// "algorithms"], "worst": the largest own time / peer time, and of a decode
// step "seconds_step", "peer_seconds_step": its products, head included,
// "state_seconds": the states' bytes at the copy's speed,
// "step_ceiling_seconds": the peer's products and the states}.
absl::StatusOr<nlohmann::json> MeasureProductPairs(
    const std::string& size, const ModelConfig& config, int32_t rows,
    bool chunk, const PairOptions& plan, const BackendOptions& device,
    Ceiling& ceiling, const Output& output);

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_PRODUCT_PAIR_BENCH_H_
