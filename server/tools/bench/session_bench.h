#ifndef CHELA_SERVER_TOOLS_BENCH_SESSION_BENCH_H_
#define CHELA_SERVER_TOOLS_BENCH_SESSION_BENCH_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "models/model_config.h"
#include "server/tools/bench/output.h"

namespace chela::bench {

// chela-bench sessions: what it costs to keep a text's state.
struct SessionBenchOptions {
  std::string size = "125m";  // random weights, or
  std::string model_dir;      // a checkpoint folder
  LongConvKind long_conv = LongConvKind::kHierarchical;
  int64_t position = 4096;  // random tokens that the state has read
  int32_t runs = 30;        // of each measurement
  std::string folder;       // empty: no folder store
  std::string redis;        // a URL; empty: no Redis store
  BackendOptions backend;
};

// Bytes of a state and of its snapshot; the time to encode and to decode it;
// with sessions in memory, in the folder and in Redis: of a turn without the
// generation (begin, and commit until it is stored), of a fork, and of the
// begin of a turn whose state is in the store alone. Median, least and
// greatest of the runs. Errors of the model and the stores as they give them;
// what it puts into the stores it deletes.
absl::Status RunSessionBench(const SessionBenchOptions& options,
                             const Output& output);

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_SESSION_BENCH_H_
