#ifndef CHELA_SERVER_TOOLS_BENCH_PREFILL_CASES_H_
#define CHELA_SERVER_TOOLS_BENCH_PREFILL_CASES_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "models/model_config.h"
#include "server/tools/bench/kernel_cases.h"

namespace chela::bench {

// What a prefill op works on: so many sequences of so many tokens each, from
// position 0, in one step.
struct PrefillShape {
  int32_t sequences = 1;
  int32_t tokens = 4096;

  std::vector<Segment> Segments() const;
  int64_t rows() const { return int64_t{sequences} * tokens; }
};

// One op of a layer of `config` over whole prompts, with random inputs. Its
// `bytes` are input, output and state, each once. The case takes turns with
// copies of them that together are past the caches, several calls a step, and
// waits for the device at a step's end. `backend` must outlive it.
// RESOURCE_EXHAUSTED if it does not fit.
absl::StatusOr<KernelCase> AttentionPrefill(Backend& backend,
                                            const ModelConfig& config,
                                            const PrefillShape& shape);
absl::StatusOr<KernelCase> HierarchicalPrefill(Backend& backend,
                                               const ModelConfig& config,
                                               const PrefillShape& shape);

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_PREFILL_CASES_H_
