#ifndef CHELA_KERNELS_CUDA_LARGE_PRODUCTS_H_
#define CHELA_KERNELS_CUDA_LARGE_PRODUCTS_H_

#include <cublasLt.h>

#include <cstdint>
#include <map>
#include <memory>
#include <tuple>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/device_buffer.h"
#include "kernels/cuda/product.h"

namespace chela::cuda {

// sums = left weight^T for chunks of prompts, by cuBLASLt: 16-bit operands,
// float32 sums. One algorithm a weight shape, chosen once for a fixed number of
// rows among those that add the inputs in one piece (no split of K), so that a
// row has the same bits whatever rows stand beside it; tests hold it to that.
//
// Threads: owned by one thread.
class LargeProducts {
 public:
  static absl::StatusOr<std::unique_ptr<LargeProducts>> Create();
  ~LargeProducts();
  LargeProducts(const LargeProducts&) = delete;

  // left: [rows, weight.stride]; sums: [rows, weight.rows].
  absl::Status Run(const WeightView& weight, const void* left, int32_t rows,
                   float* sums, cudaStream_t stream);

 private:
  using Shape = std::tuple<DType, int32_t, int32_t>;  // type, rows, stride
  LargeProducts() = default;
  absl::StatusOr<cublasLtMatmulAlgo_t> AlgorithmFor(const WeightView& weight);

  cublasLtHandle_t handle_ = nullptr;
  DeviceBuffer workspace_;
  std::map<Shape, cublasLtMatmulAlgo_t> algorithms_;
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_LARGE_PRODUCTS_H_
