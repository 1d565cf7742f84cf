#ifndef CHELA_KERNELS_CUDA_PRODUCT_GRAPH_H_
#define CHELA_KERNELS_CUDA_PRODUCT_GRAPH_H_

#include <cuda_runtime_api.h>

#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/cuda/step_graphs.h"
#include "kernels/status_macros.h"

namespace chela::cuda {

// Products that are timed together, as one CUDA graph. Move-only.
class ProductGraph {
 public:
  ProductGraph() = default;
  ProductGraph(ProductGraph&& other) noexcept {
    std::swap(executable_, other.executable_);
  }
  ProductGraph& operator=(ProductGraph&& other) noexcept {
    std::swap(executable_, other.executable_);
    return *this;
  }
  ~ProductGraph() {
    if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
  }

  // Once. `ops` enqueue on `stream`.
  absl::Status Record(cudaStream_t stream,
                      absl::FunctionRef<absl::Status()> ops) {
    return StepGraphs::Record(stream, ops, &executable_);
  }
  // Runs it and waits for its end.
  absl::Status Run(cudaStream_t stream) const {
    CHELA_RETURN_IF_ERROR(CudaStatus(cudaGraphLaunch(executable_, stream),
                                     "launch a graph of products"));
    return CudaStatus(cudaStreamSynchronize(stream), "wait for products");
  }

 private:
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_PRODUCT_GRAPH_H_
