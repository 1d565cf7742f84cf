#ifndef CHELA_SERVER_TOOLS_BENCH_EXPLICIT_BENCH_H_
#define CHELA_SERVER_TOOLS_BENCH_EXPLICIT_BENCH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "server/tools/bench/output.h"

namespace chela::bench {

// chela-bench kernels --explicit: the explicit long convolution alone.
struct ExplicitBenchOptions {
  std::vector<std::string> sizes;  // named sizes
  std::vector<int32_t> rows;       // decode rows
  int64_t position = 1024;
  // Prompts of a prefill: their number and length.
  int64_t prompts = 16;
  int64_t prompt_tokens = 4096;
  BackendOptions backend;
  double seconds = 0.5;  // of each row of the table, at least
};

// Decode: steps that are the convolution of all layers of a size and nothing
// else, each layer with kernel and states of its own, positions all equal and
// spread over the ring. The mean over steps that follow each other without a
// look at their results, and p50 and p99 of steps of which each is awaited.
// Prefill: one call on `prompts` chunks of `prompt_tokens` tokens from position
// 0, of one layer, awaited. INVALID_ARGUMENT for an unknown size or counts
// below 1, RESOURCE_EXHAUSTED if kernels and states do not fit.
absl::Status RunExplicitBench(const ExplicitBenchOptions& options,
                              const Output& output);

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_EXPLICIT_BENCH_H_
