#ifndef CHELA_SERVER_TOOLS_BENCH_KERNEL_BENCH_H_
#define CHELA_SERVER_TOOLS_BENCH_KERNEL_BENCH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "server/tools/bench/output.h"

namespace chela::bench {

// chela-bench kernels: each op of a layer alone.
struct KernelBenchOptions {
  std::vector<std::string> sizes = {"125m", "350m"};  // named sizes
  std::vector<int32_t> rows = {1, 8, 32};             // decode rows, "M"
  int64_t position = 1024;
  bool products_only = false;
  std::vector<std::string> prefill;          // ops over whole prompts
  std::vector<int32_t> sequences = {1, 16};  // of a prefill op's step
  int32_t tokens = 4096;                     // of each of them
  BackendOptions backend;
  double seconds = 0.1;  // of each half of a pair
  int32_t pairs = 7;
};

// INVALID_ARGUMENT for decode rows outside 1 .. 4096.
absl::Status CheckRows(const std::vector<int32_t>& rows);

// For every size, op and number of rows: the time of one call and its share of
// the read ceiling, measured beside it. Weights and states of an op take turns
// with copies, eight last-level caches in all. Bytes are what the op must move:
// weights once, states read and written; no activations. The plain products
// come first, beside oneDNN where the build has it (product_bench.h), on a GPU
// beside cuBLASLt (product_pair_bench.h).
// With `prefill` ("attention", "hierarchical"), these ops over whole prompts
// instead, for every size and number of sequences (prefill_cases.h).
// INVALID_ARGUMENT for an unknown size or a row count outside 1 .. 4096.
absl::Status RunKernelBench(const KernelBenchOptions& options,
                            const Output& output);

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_KERNEL_BENCH_H_
