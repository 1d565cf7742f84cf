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

absl::StatusOr<std::optional<cublasLtMatmulAlgo_t>> LargeProducts::AlgorithmFor(
    const WeightView& weight, const Ends& ends) {
  const Shape shape(weight.dtype, weight.rows, weight.stride,
                    ends.bias != nullptr, ends.residual != nullptr);
  const auto known = algorithms_.find(shape);
  if (known != algorithms_.end()) return known->second;
  CublasMatmul matmul;
  CHELA_RETURN_IF_ERROR(matmul.Init(weight, kTypicalRows, ends.bias));
  CublasPreference preference;
  CHELA_RETURN_IF_ERROR(
      preference.Init(weight.rows, CUBLASLT_REDUCTION_SCHEME_NONE));
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

absl::StatusOr<std::optional<LargeProducts::Ends>> LargeProducts::EndsOf(
    const WeightView& weight, const FinishArguments& finish,
    int32_t first_row) {
  const bool known =
      (finish.kind == Finish::kStore || finish.kind == Finish::kResidual) &&
      finish.rounded == nullptr && finish.out_stride == weight.rows;
  if (!known) return std::nullopt;
  const int64_t offset = first_row * finish.out_stride;
  const Ends ends = finish.kind == Finish::kStore
                        ? Ends{.bias = finish.bias, .out = finish.out + offset}
                        : Ends{.residual = finish.residual + offset,
                               .out = finish.out + offset};
  const absl::StatusOr<std::optional<cublasLtMatmulAlgo_t>> algorithm =
      AlgorithmFor(weight, ends);
  if (!algorithm.ok()) return algorithm.status();
  if (!algorithm->has_value()) return std::nullopt;
  return ends;
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
  CublasMatmul matmul;
  CHELA_RETURN_IF_ERROR(matmul.Init(weight, rows, ends.bias));
  const float one = 1.0f;
  const float beta = ends.residual != nullptr ? 1.0f : 0.0f;
  const float* const added =
      ends.residual != nullptr ? ends.residual : ends.out;
  return CublasStatus(
      cublasLtMatmul(handle_, matmul.operation(), &one, weight.data,
                     matmul.weight(), left, matmul.left(), &beta, added,
                     matmul.sums(), ends.out, matmul.sums(), &**algorithm,
                     workspace_.data(), kCublasWorkspaceBytes, stream),
      absl::StrCat("multiply ", rows, " rows by a weight of [", weight.rows,
                   ", ", weight.cols, "]"));
}

}  // namespace chela::cuda
