#ifndef CHELA_SERVER_TOOLS_BENCH_ATTENTION_BENCH_H_
#define CHELA_SERVER_TOOLS_BENCH_ATTENTION_BENCH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "models/model_config.h"
#include "server/tools/bench/output.h"

namespace chela::bench {

// chela-bench kernels --attention: the linear attention of decode rows alone.
struct AttentionBenchOptions {
  std::vector<std::string> sizes;  // named sizes
  std::vector<int32_t> rows;       // decode rows
  std::vector<int32_t> replays;    // R of attention replay, beside none
  int64_t position = 1024;         // of the first sequence
  BackendOptions backend;
  double seconds = 0.1;  // of each half of a pair
  int32_t pairs = 7;
};

// How many times as fast a layer's attention can be with replay of period R, if
// both move their bytes at one speed: performance.md's
//   2 / (1 + 1/R + (R+1)/2 r),  r = (dk + dv) / (dk dv)
// for a float32 ring.
double ReplayGain(const ModelConfig& config, int32_t period);

// The op of one layer, without replay and in turn with it, on states that take
// turns with copies, at least 512 MiB in all on a GPU. Row i of a call stands i
// tokens after the first one; every step goes through a whole period of tokens
// on all copies and then waits for the device. Bytes are those of states and
// rings, read and written, and nothing else. INVALID_ARGUMENT for an unknown
// size, period or row count, RESOURCE_EXHAUSTED if the states do not fit.
absl::Status RunAttentionBench(const AttentionBenchOptions& options,
                               const Output& output);

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_ATTENTION_BENCH_H_
