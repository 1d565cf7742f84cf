#include "kernels/cuda/large_products.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/status_macros.h"

namespace chela::cuda {
namespace {

constexpr size_t kWorkspaceBytes = 32 << 20;
constexpr int32_t kTypicalRows = 256;  // a whole chunk

// The description of one product; frees what it made.
class Matmul {
 public:
  Matmul() = default;
  Matmul(const Matmul&) = delete;
  ~Matmul() {
    for (const cublasLtMatrixLayout_t layout : {weight_, left_, sums_}) {
      if (layout != nullptr) cublasLtMatrixLayoutDestroy(layout);
    }
    if (operation_ != nullptr) cublasLtMatmulDescDestroy(operation_);
  }

  // In cuBLAS's column-major terms: sums^T [outputs, rows] = weight left^T.
  absl::Status Init(const WeightView& weight, int32_t rows, const float* bias) {
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

  cublasLtMatmulDesc_t operation() const { return operation_; }
  cublasLtMatrixLayout_t weight() const { return weight_; }
  cublasLtMatrixLayout_t left() const { return left_; }
  cublasLtMatrixLayout_t sums() const { return sums_; }

 private:
  absl::Status AddBias(const float* bias) {
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    CHELA_RETURN_IF_ERROR(CublasStatus(
        cublasLtMatmulDescSetAttribute(operation_,
                                       CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                       sizeof(epilogue)),
        "describe a bias"));
    return CublasStatus(
        cublasLtMatmulDescSetAttribute(
            operation_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof(bias)),
        "describe a bias");
  }
  static absl::Status Layout(cublasLtMatrixLayout_t* layout,
                             cudaDataType_t type, uint64_t rows, uint64_t cols,
                             int64_t leading) {
    return CublasStatus(
        cublasLtMatrixLayoutCreate(layout, type, rows, cols, leading),
        "describe a matrix");
  }

  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t weight_ = nullptr;
  cublasLtMatrixLayout_t left_ = nullptr;
  cublasLtMatrixLayout_t sums_ = nullptr;
};

class Preference {
 public:
  Preference() = default;
  Preference(const Preference&) = delete;
  ~Preference() {
    if (preference_ != nullptr) cublasLtMatmulPreferenceDestroy(preference_);
  }

  absl::Status Init(int32_t outputs) {
    CHELA_RETURN_IF_ERROR(CublasStatus(
        cublasLtMatmulPreferenceCreate(&preference_), "choose an algorithm"));
    const size_t workspace = kWorkspaceBytes;
    CHELA_RETURN_IF_ERROR(
        Set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace));
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE;
    CHELA_RETURN_IF_ERROR(
        Set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions));
    // Rows of the result lie `outputs` floats apart.
    const uint32_t alignment = outputs % 4 == 0 ? 16 : 4;
    CHELA_RETURN_IF_ERROR(
        Set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment));
    return Set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment);
  }
  cublasLtMatmulPreference_t get() const { return preference_; }

 private:
  template <typename T>
  absl::Status Set(cublasLtMatmulPreferenceAttributes_t attribute,
                   const T& value) {
    return CublasStatus(cublasLtMatmulPreferenceSetAttribute(
                            preference_, attribute, &value, sizeof(value)),
                        "choose an algorithm");
  }

  cublasLtMatmulPreference_t preference_ = nullptr;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LargeProducts>> LargeProducts::Create() {
  std::unique_ptr<LargeProducts> made(new LargeProducts());
  CHELA_RETURN_IF_ERROR(CublasStatus(cublasLtCreate(&made->handle_), "start"));
  absl::StatusOr<DeviceBuffer> workspace =
      DeviceBuffer::Allocate(kWorkspaceBytes);
  if (!workspace.ok()) return workspace.status();
  made->workspace_ = *std::move(workspace);
  return made;
}

LargeProducts::~LargeProducts() {
  if (handle_ != nullptr) cublasLtDestroy(handle_);
}

absl::StatusOr<std::optional<cublasLtMatmulAlgo_t>> LargeProducts::AlgorithmFor(
    const WeightView& weight, const Ends& ends) {
  const Shape shape(weight.dtype, weight.rows, weight.stride,
                    ends.bias != nullptr, ends.residual != nullptr);
  const auto known = algorithms_.find(shape);
  if (known != algorithms_.end()) return known->second;
  Matmul matmul;
  CHELA_RETURN_IF_ERROR(matmul.Init(weight, kTypicalRows, ends.bias));
  Preference preference;
  CHELA_RETURN_IF_ERROR(preference.Init(weight.rows));
  cublasLtMatmulHeuristicResult_t result = {};
  int found = 0;
  const std::string doing =
      absl::StrCat("choose an algorithm for a weight of [", weight.rows, ", ",
                   weight.cols, "]");
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle_, matmul.operation(), matmul.weight(), matmul.left(),
      matmul.sums(), matmul.sums(), preference.get(), 1, &result, &found);
  if (status != CUBLAS_STATUS_NOT_SUPPORTED) {
    CHELA_RETURN_IF_ERROR(CublasStatus(status, doing));
  }
  const bool any = status == CUBLAS_STATUS_SUCCESS && found > 0;
  if (!any && ends.bias == nullptr && ends.residual == nullptr) {
    return absl::InternalError(
        absl::StrCat("cuBLAS could not ", doing, ": it has none"));
  }
  const std::optional<cublasLtMatmulAlgo_t> chosen =
      any ? std::optional(result.algo) : std::nullopt;
  algorithms_.emplace(shape, chosen);
  return chosen;
}

absl::StatusOr<bool> LargeProducts::Has(const WeightView& weight,
                                        const Ends& ends) {
  const absl::StatusOr<std::optional<cublasLtMatmulAlgo_t>> algorithm =
      AlgorithmFor(weight, ends);
  if (!algorithm.ok()) return algorithm.status();
  return algorithm->has_value();
}

absl::Status LargeProducts::Run(const WeightView& weight, const void* left,
                                int32_t rows, const Ends& ends,
                                cudaStream_t stream) {
  const absl::StatusOr<std::optional<cublasLtMatmulAlgo_t>> algorithm =
      AlgorithmFor(weight, ends);
  if (!algorithm.ok()) return algorithm.status();
  if (!algorithm->has_value()) {
    return absl::InternalError("multiply: ends that cuBLAS has not");
  }
  Matmul matmul;
  CHELA_RETURN_IF_ERROR(matmul.Init(weight, rows, ends.bias));
  const float one = 1.0f;
  const float beta = ends.residual != nullptr ? 1.0f : 0.0f;
  const float* const added =
      ends.residual != nullptr ? ends.residual : ends.out;
  return CublasStatus(
      cublasLtMatmul(handle_, matmul.operation(), &one, weight.data,
                     matmul.weight(), left, matmul.left(), &beta, added,
                     matmul.sums(), ends.out, matmul.sums(), &**algorithm,
                     workspace_.data(), kWorkspaceBytes, stream),
      absl::StrCat("multiply ", rows, " rows by a weight of [", weight.rows,
                   ", ", weight.cols, "]"));
}

}  // namespace chela::cuda
