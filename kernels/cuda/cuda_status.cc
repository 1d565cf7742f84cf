#include "kernels/cuda/cuda_status.h"

#include "absl/strings/str_cat.h"

namespace chela::cuda {

absl::Status CudaStatus(cudaError_t error, const std::string& doing) {
  if (error == cudaSuccess) return absl::OkStatus();
  // Clears it: an error that does not stick must not surface twice.
  static_cast<void>(cudaGetLastError());
  const std::string message =
      absl::StrCat("CUDA could not ", doing, ": ", cudaGetErrorName(error),
                   " (", cudaGetErrorString(error), ")");
  switch (error) {
    case cudaErrorMemoryAllocation:
      return absl::ResourceExhaustedError(message);
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorSystemNotReady:
    case cudaErrorDevicesUnavailable:
      return absl::UnavailableError(message);
    default:
      return absl::InternalError(message);
  }
}

absl::Status CublasStatus(cublasStatus_t status, const std::string& doing) {
  if (status == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  const std::string message = absl::StrCat("cuBLAS could not ", doing, ": ",
                                           cublasLtGetStatusName(status));
  return status == CUBLAS_STATUS_ALLOC_FAILED
             ? absl::ResourceExhaustedError(message)
             : absl::InternalError(message);
}

}  // namespace chela::cuda
