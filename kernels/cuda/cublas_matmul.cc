#include "kernels/cuda/cublas_matmul.h"

#include "kernels/cuda/cuda_status.h"
#include "kernels/status_macros.h"

namespace chela::cuda {
namespace {

absl::Status Layout(cublasLtMatrixLayout_t* layout, cudaDataType_t type,
                    uint64_t rows, uint64_t cols, int64_t leading) {
  return CublasStatus(
      cublasLtMatrixLayoutCreate(layout, type, rows, cols, leading),
      "describe a matrix");
}

template <typename T>
absl::Status Set(cublasLtMatmulPreference_t preference,
                 cublasLtMatmulPreferenceAttributes_t attribute,
                 const T& value) {
  return CublasStatus(cublasLtMatmulPreferenceSetAttribute(
                          preference, attribute, &value, sizeof(value)),
                      "choose an algorithm");
}

}  // namespace

CublasMatmul::~CublasMatmul() {
  for (const cublasLtMatrixLayout_t layout : {weight_, left_, sums_}) {
    if (layout != nullptr) cublasLtMatrixLayoutDestroy(layout);
  }
  if (operation_ != nullptr) cublasLtMatmulDescDestroy(operation_);
}

// In cuBLAS's column-major terms: sums^T [outputs, rows] = weight left^T.
absl::Status CublasMatmul::Init(const WeightView& weight, int32_t rows,
                                const float* bias) {
  const cudaDataType_t type =
      weight.dtype == DType::kBF16 ? CUDA_R_16BF : CUDA_R_16F;
  CHELA_RETURN_IF_ERROR(CublasStatus(
      cublasLtMatmulDescCreate(&operation_, CUBLAS_COMPUTE_32F, CUDA_R_32F),
      "describe a product"));
  const cublasOperation_t transposed = CUBLAS_OP_T;
  CHELA_RETURN_IF_ERROR(CublasStatus(
      cublasLtMatmulDescSetAttribute(operation_, CUBLASLT_MATMUL_DESC_TRANSA,
                                     &transposed, sizeof(transposed)),
      "describe a product"));
  if (bias != nullptr) CHELA_RETURN_IF_ERROR(AddBias(bias));
  const auto k = static_cast<uint64_t>(weight.stride);
  const auto n = static_cast<uint64_t>(weight.rows);
  const auto m = static_cast<uint64_t>(rows);
  CHELA_RETURN_IF_ERROR(Layout(&weight_, type, k, n, weight.stride));
  CHELA_RETURN_IF_ERROR(Layout(&left_, type, k, m, weight.stride));
  return Layout(&sums_, CUDA_R_32F, n, m, weight.rows);
}

absl::Status CublasMatmul::AddBias(const float* bias) {
  const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
  CHELA_RETURN_IF_ERROR(CublasStatus(
      cublasLtMatmulDescSetAttribute(operation_, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                     &epilogue, sizeof(epilogue)),
      "describe a bias"));
  return CublasStatus(
      cublasLtMatmulDescSetAttribute(
          operation_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof(bias)),
      "describe a bias");
}

CublasPreference::~CublasPreference() {
  if (preference_ != nullptr) cublasLtMatmulPreferenceDestroy(preference_);
}

absl::Status CublasPreference::Init(int32_t outputs, uint32_t reductions) {
  CHELA_RETURN_IF_ERROR(CublasStatus(
      cublasLtMatmulPreferenceCreate(&preference_), "choose an algorithm"));
  CHELA_RETURN_IF_ERROR(Set(preference_,
                            CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                            kCublasWorkspaceBytes));
  CHELA_RETURN_IF_ERROR(
      Set(preference_, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions));
  // Rows of the result lie `outputs` floats apart.
  const uint32_t alignment = outputs % 4 == 0 ? 16 : 4;
  CHELA_RETURN_IF_ERROR(
      Set(preference_, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment));
  return Set(preference_, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
             alignment);
}

}  // namespace chela::cuda
