#include "kernels/cuda/device_buffer.h"

#include <cuda_runtime_api.h>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/status_macros.h"

namespace chela::cuda {

absl::StatusOr<DeviceBuffer> DeviceBuffer::Allocate(size_t bytes) {
  DeviceBuffer buffer;
  if (bytes == 0) return buffer;
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  CHELA_RETURN_IF_ERROR(CudaStatus(cudaMemGetInfo(&free_bytes, &total_bytes),
                                   "ask for the free memory"));
  const std::string doing =
      absl::StrCat("allocate ", bytes, " bytes, ", free_bytes, " free");
  CHELA_RETURN_IF_ERROR(CudaStatus(cudaMalloc(&buffer.data_, bytes), doing));
  buffer.size_bytes_ = bytes;
  CHELA_RETURN_IF_ERROR(CudaStatus(cudaMemset(buffer.data_, 0, bytes), doing));
  // The legacy stream's memset is not ordered before our own streams' work.
  CHELA_RETURN_IF_ERROR(CudaStatus(cudaStreamSynchronize(nullptr), doing));
  return buffer;
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) static_cast<void>(cudaFree(data_));
}

absl::StatusOr<PinnedBuffer> PinnedBuffer::Allocate(size_t bytes) {
  PinnedBuffer buffer;
  if (bytes == 0) return buffer;
  CHELA_RETURN_IF_ERROR(
      CudaStatus(cudaHostAlloc(&buffer.data_, bytes, cudaHostAllocDefault),
                 absl::StrCat("page-lock ", bytes, " bytes")));
  buffer.size_bytes_ = bytes;
  return buffer;
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ != nullptr) static_cast<void>(cudaFreeHost(data_));
}

absl::Status Scratch::Reserve(size_t bytes) {
  if (bytes <= buffer_.size_bytes()) return absl::OkStatus();
  // At least half as much again, so that growing steps do not ask each time.
  const size_t wanted = bytes + buffer_.size_bytes() / 2;
  absl::StatusOr<DeviceBuffer> buffer = DeviceBuffer::Allocate(wanted);
  if (!buffer.ok()) return buffer.status();
  buffer_ = *std::move(buffer);
  ++*growths_;
  return absl::OkStatus();
}

}  // namespace chela::cuda
