#ifndef CHELA_KERNELS_CUDA_STEP_GRAPHS_H_
#define CHELA_KERNELS_CUDA_STEP_GRAPHS_H_

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace chela::cuda {

// Decode steps recorded as CUDA graphs, one for each program and bucket of
// rows. The first step of a kind runs as it is (what it needs is allocated
// then), the second is recorded, later ones are replayed.
//
// Threads: owned by one thread.
class StepGraphs {
 public:
  StepGraphs() = default;
  ~StepGraphs();
  StepGraphs(const StepGraphs&) = delete;

  // Enqueues the step on `stream`: `ops` as they are, or the graph of them.
  // generation: graphs of another one hold addresses that are gone.
  absl::Status Run(uint64_t program, int32_t bucket, int64_t generation,
                   cudaStream_t stream, absl::FunctionRef<absl::Status()> ops);

  // The graph of `ops`, which are recorded, not run; the caller destroys it.
  static absl::Status Record(cudaStream_t stream,
                             absl::FunctionRef<absl::Status()> ops,
                             cudaGraphExec_t* executable);

 private:
  struct Graph {
    int64_t generation = 0;
    cudaGraphExec_t executable = nullptr;  // null: seen once
  };

  std::map<std::pair<uint64_t, int32_t>, Graph> graphs_;
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_STEP_GRAPHS_H_
