#ifndef CHELA_SERVER_TOOLS_BENCH_ENGINE_BENCH_H_
#define CHELA_SERVER_TOOLS_BENCH_ENGINE_BENCH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "models/model_config.h"
#include "models/sampling_params.h"
#include "server/tools/bench/output.h"

namespace chela::bench {

// chela-bench engine: the model offline, without RPC.
struct EngineBenchOptions {
  std::string size = "125m";  // a named size with random weights, or
  std::string model_dir;      // a checkpoint
  LongConvKind long_conv = LongConvKind::kHierarchical;
  std::vector<int32_t> batches = {1, 8};
  std::vector<int64_t> positions = {1024};
  std::vector<int64_t> prefill_tokens = {2048};
  std::vector<int64_t> chunks = {kChunkTokens};
  int32_t attention_replay = 0;  // R; 0: off
  bool int8_weights = false;     // else the model's type
  bool spread = false;   // the sequences of a batch at different positions
  bool stages = false;   // what each op takes of a step; CPU only
  bool control = false;  // beside reads of as many bytes as a step has
  bool in_turn = false;  // rows after the first in turn with the first
  bool onednn = false;   // prefill beside oneDNN's products
  int32_t periods = 1;   // of the long convolution, timed at least
  BackendOptions backend;
  SamplingParams sampling;
  double seconds = 0.5;  // of each half of a pair, at least
  int32_t pairs = 7;
};

// Decode rows for every batch and position, each beside the read ceiling, and
// prefill rows; the JSON's fields are api.md's. INVALID_ARGUMENT for options
// outside their range, RESOURCE_EXHAUSTED if model and states do not fit.
absl::Status RunEngineBench(const EngineBenchOptions& options,
                            const Output& output);

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_ENGINE_BENCH_H_
