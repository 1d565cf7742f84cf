#include "kernels/cuda/large_products.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cublas_matmul.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/status_macros.h"

namespace chela::cuda {
namespace {

constexpr int32_t kTypicalRows = 256;  // a whole chunk

}  // namespace

absl::StatusOr<std::unique_ptr<LargeProducts>> LargeProducts::Create() {
  std::unique_ptr<LargeProducts> made(new LargeProducts());
  CHELA_RETURN_IF_ERROR(CublasStatus(cublasLtCreate(&made->handle_), "start"));
  absl::StatusOr<DeviceBuffer> workspace =
      DeviceBuffer::Allocate(kCublasWorkspaceBytes);
  if (!workspace.ok()) return workspace.status();
  made->workspace_ = *std::move(workspace);
  return made;
}

LargeProducts::~LargeProducts() {
  if (handle_ != nullptr) cublasLtDestroy(handle_);
}

absl::StatusOr<cublasLtMatmulAlgo_t> LargeProducts::AlgorithmFor(
    const WeightView& weight) {
  const Shape shape(weight.dtype, weight.rows, weight.stride);
  const auto known = algorithms_.find(shape);
  if (known != algorithms_.end()) return known->second;
  CublasMatmul matmul;
  CHELA_RETURN_IF_ERROR(matmul.Init(weight, kTypicalRows));
  CublasPreference preference;
  CHELA_RETURN_IF_ERROR(
      preference.Init(weight.rows, CUBLASLT_REDUCTION_SCHEME_NONE));
  cublasLtMatmulHeuristicResult_t result = {};
  int found = 0;
  const std::string doing =
      absl::StrCat("choose an algorithm for a weight of [", weight.rows, ", ",
                   weight.cols, "]");
  CHELA_RETURN_IF_ERROR(CublasStatus(
      cublasLtMatmulAlgoGetHeuristic(
          handle_, matmul.operation(), matmul.weight(), matmul.left(),
          matmul.sums(), matmul.sums(), preference.get(), 1, &result, &found),
      doing));
  if (found == 0) {
    return absl::InternalError(
        absl::StrCat("cuBLAS could not ", doing, ": it has none"));
  }
  algorithms_.emplace(shape, result.algo);
  return result.algo;
}

absl::Status LargeProducts::Run(const WeightView& weight, const void* left,
                                int32_t rows, float* sums,
                                cudaStream_t stream) {
  const absl::StatusOr<cublasLtMatmulAlgo_t> algorithm = AlgorithmFor(weight);
  if (!algorithm.ok()) return algorithm.status();
  CublasMatmul matmul;
  CHELA_RETURN_IF_ERROR(matmul.Init(weight, rows));
  const float one = 1.0f;
  const float zero = 0.0f;
  return CublasStatus(
      cublasLtMatmul(handle_, matmul.operation(), &one, weight.data,
                     matmul.weight(), left, matmul.left(), &zero, sums,
                     matmul.sums(), sums, matmul.sums(), &*algorithm,
                     workspace_.data(), kCublasWorkspaceBytes, stream),
      absl::StrCat("multiply ", rows, " rows by a weight of [", weight.rows,
                   ", ", weight.cols, "]"));
}

}  // namespace chela::cuda
