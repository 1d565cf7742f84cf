#ifndef CHELA_KERNELS_CUDA_LARGE_PRODUCTS_H_
#define CHELA_KERNELS_CUDA_LARGE_PRODUCTS_H_

#include <cublasLt.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <tuple>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/device_buffer.h"
#include "kernels/cuda/product.h"

namespace chela::cuda {

// Products for chunks of prompts, by cuBLASLt: 16-bit operands, float32 sums.
// One algorithm a weight shape, chosen once for a fixed number of rows among
// those that add the inputs in one piece (no split of K), so that a row has the
// same bits whatever rows stand beside it; tests hold it to that.
//
// Threads: owned by one thread.
class LargeProducts {
 public:
  // What follows the sums s = left weight^T: out = s, s + bias (float32
  // [weight.rows]) or s + residual (as out). Not both.
  struct Ends {
    const float* bias = nullptr;
    const float* residual = nullptr;
    float* out = nullptr;  // [rows, weight.rows]
  };

  static absl::StatusOr<std::unique_ptr<LargeProducts>> Create();
  ~LargeProducts();
  LargeProducts(const LargeProducts&) = delete;

  // `finish` as an end of cuBLASLt's, for rows from first_row on; null if it
  // has none like it: then Run without ends and LaunchFinish.
  absl::StatusOr<std::optional<Ends>> EndsOf(const WeightView& weight,
                                             const FinishArguments& finish,
                                             int32_t first_row);

  // left: [rows, weight.stride].
  absl::Status Run(const WeightView& weight, const void* left, int32_t rows,
                   const Ends& ends, cudaStream_t stream);

 private:
  // Type, rows, stride, whether a bias is added, whether a residual is.
  using Shape = std::tuple<DType, int32_t, int32_t, bool, bool>;
  LargeProducts() = default;
  absl::StatusOr<std::optional<cublasLtMatmulAlgo_t>> AlgorithmFor(
      const WeightView& weight, const Ends& ends);

  cublasLtHandle_t handle_ = nullptr;
  DeviceBuffer workspace_;
  std::map<Shape, std::optional<cublasLtMatmulAlgo_t>> algorithms_;
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_LARGE_PRODUCTS_H_
