#ifndef CHELA_KERNELS_CUDA_CUBLAS_MATMUL_H_
#define CHELA_KERNELS_CUDA_CUBLAS_MATMUL_H_

#include <cublasLt.h>

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "kernels/cuda/product.h"

namespace chela::cuda {

inline constexpr size_t kCublasWorkspaceBytes = 32 << 20;

// What cuBLASLt has to know of sums = left weight^T: left [rows, weight.stride]
// of the weight's 16-bit type, sums [rows, weight.rows] in float32, plus bias
// [weight.rows] unless it is null. Frees what it made.
class CublasMatmul {
 public:
  CublasMatmul() = default;
  CublasMatmul(const CublasMatmul&) = delete;
  ~CublasMatmul();
  absl::Status Init(const WeightView& weight, int32_t rows,
                    const float* bias = nullptr);

  cublasLtMatmulDesc_t operation() const { return operation_; }
  cublasLtMatrixLayout_t weight() const { return weight_; }
  cublasLtMatrixLayout_t left() const { return left_; }
  cublasLtMatrixLayout_t sums() const { return sums_; }

 private:
  absl::Status AddBias(const float* bias);

  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t weight_ = nullptr;
  cublasLtMatrixLayout_t left_ = nullptr;
  cublasLtMatrixLayout_t sums_ = nullptr;
};

// Which algorithms may serve it: with kCublasWorkspaceBytes, results of
// `outputs` floats a row, and one of the `reductions` of a split K
// (CUBLASLT_REDUCTION_SCHEME_*).
class CublasPreference {
 public:
  CublasPreference() = default;
  CublasPreference(const CublasPreference&) = delete;
  ~CublasPreference();
  absl::Status Init(int32_t outputs, uint32_t reductions);
  cublasLtMatmulPreference_t get() const { return preference_; }

 private:
  cublasLtMatmulPreference_t preference_ = nullptr;
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_CUBLAS_MATMUL_H_
