#ifndef CHELA_KERNELS_CUDA_CUDA_STATUS_H_
#define CHELA_KERNELS_CUDA_CUDA_STATUS_H_

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <string>

#include "absl/status/status.h"

namespace chela::cuda {

// The only places where CUDA's errors become ours: "CUDA could not <doing>:
// <name> (<text>)". RESOURCE_EXHAUSTED for memory, UNAVAILABLE without a device
// or a fitting driver, INTERNAL otherwise.
absl::Status CudaStatus(cudaError_t error, const std::string& doing);
absl::Status CublasStatus(cublasStatus_t status, const std::string& doing);

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_CUDA_STATUS_H_
