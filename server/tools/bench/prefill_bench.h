#ifndef CHELA_SERVER_TOOLS_BENCH_PREFILL_BENCH_H_
#define CHELA_SERVER_TOOLS_BENCH_PREFILL_BENCH_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/model_config.h"
#include "nlohmann/json.hpp"
#include "server/tools/bench/ceiling.h"
#include "server/tools/bench/decode_workload.h"
#include "server/tools/bench/onednn_product.h"
#include "server/tools/bench/paired_runs.h"

namespace chela::bench {

// What prefill is measured against: oneDNN's bf16 products of every matrix of
// every layer, without the head, for kRows tokens at once and nothing between
// them.
//
// Threads: as OneDnnProduct.
class LayerProducts {
 public:
  static constexpr int32_t kRows = 64;

  // Errors are OneDnnProduct's.
  static absl::StatusOr<std::unique_ptr<LayerProducts>> Create(
      const ModelConfig& config, int32_t threads);
  // All products once.
  absl::Status Run();

 private:
  explicit LayerProducts(int32_t layers) : layers_(layers) {}

  int32_t layers_;
  std::vector<std::unique_ptr<OneDnnProduct>> products_;  // copies: the layers
};

// A prompt, and the tokens of each of its steps.
struct PrefillSize {
  int64_t tokens = 0;
  int64_t chunk = 0;
};

// Reads the prompt again and again, in turn with `peer` unless it is null. The
// row: {"tokens", "chunk", "runs", "tokens_per_second" and its _min and _max by
// run}; with a peer {"peer", "peer_tokens_per_second", "rate_ratio" and its
// _min, _max and _iqr (ours over the peer's, by pair), "conclusive"} as well.
absl::StatusOr<nlohmann::json> MeasurePrefill(const PrefillSize& size,
                                              const PairOptions& plan,
                                              LayerProducts* peer,
                                              DecodeWorkload& workload,
                                              Ceiling& ceiling);

// The row for people.
std::string PrefillLine(const nlohmann::json& row);

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_PREFILL_BENCH_H_
