#ifndef CHELA_KERNELS_CUDA_CUBLAS_PEER_H_
#define CHELA_KERNELS_CUDA_CUBLAS_PEER_H_

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/cublas_matmul.h"
#include "kernels/cuda/device_buffer.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/product_graph.h"

namespace chela::cuda {

// The fastest way of cuBLASLt to multiply `rows` rows by weights that take
// turns, one product for each element of `weights`, all of one shape. Of the
// algorithms (256 at most) that its heuristic names, splits of K and
// kCublasWorkspaceBytes included, each is timed in a graph of 16 products, and
// the four fastest in a graph of all.
//
// Threads: owned by one thread.
class CublasPeer {
 public:
  // left: [rows, stride] of the weights' type; sums: [rows, weight rows].
  static absl::StatusOr<std::unique_ptr<CublasPeer>> Choose(
      std::vector<WeightView> weights, const void* left, int32_t rows,
      float* sums, cudaStream_t stream);
  ~CublasPeer();
  CublasPeer(const CublasPeer&) = delete;

  // All products once; waits for their end.
  absl::Status Run() const { return graph_.Run(stream_); }
  int32_t algorithms() const { return algorithms_; }  // that were timed
  std::string description() const { return description_; }

 private:
  CublasPeer() = default;
  absl::Status Open();
  absl::Status Choose();
  absl::Status Record(const cublasLtMatmulAlgo_t& algorithm, size_t calls,
                      ProductGraph* graph);
  absl::StatusOr<float> Time(const cublasLtMatmulAlgo_t& algorithm,
                             size_t calls);

  std::vector<WeightView> weights_;
  const void* left_ = nullptr;
  int32_t rows_ = 0;
  float* sums_ = nullptr;
  cudaStream_t stream_ = nullptr;
  cublasLtHandle_t handle_ = nullptr;
  cudaEvent_t start_ = nullptr;
  cudaEvent_t end_ = nullptr;
  DeviceBuffer workspace_;
  CublasMatmul matmul_;
  ProductGraph graph_;
  int32_t algorithms_ = 0;
  std::string description_;
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_CUBLAS_PEER_H_
