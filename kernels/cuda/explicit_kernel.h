#ifndef CHELA_KERNELS_CUDA_EXPLICIT_KERNEL_H_
#define CHELA_KERNELS_CUDA_EXPLICIT_KERNEL_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/cuda/device_buffer.h"
#include "kernels/cuda/explicit_convolution.h"
#include "kernels/long_convolution.h"

namespace chela::cuda {

// Kernels that are made from now on take every device for one whose thread
// blocks may have `bytes` of shared memory at most: for tests of what smaller
// devices do.
void LimitSharedBytes(int64_t bytes);

// An explicit kernel on the device: the first taps, and the spectra of the
// tiles, made there in float64. About 4M floats a channel, 6M where
// chunks are cut into blocks. Immutable.
class CudaExplicitKernel final : public ExplicitKernel {
 public:
  // kernel: host, [width, length]. shared_bytes: the shared memory that a
  // thread block may have; with less than BlocksSharedBytes chunks are not cut
  // into blocks. INVALID_ARGUMENT for a size below 1 or a length above
  // kMaxExplicitRing, RESOURCE_EXHAUSTED if the device has no room.
  static absl::StatusOr<std::unique_ptr<CudaExplicitKernel>> Make(
      const float* kernel, int32_t width, int64_t length, int64_t shared_bytes,
      cudaStream_t stream);

  int32_t width() const override { return view_.width; }
  int64_t length() const override { return length_; }
  size_t size_bytes() const override { return memory_.size_bytes(); }
  const ExplicitView& view() const { return view_; }

  // Where group `group` of layer `layer` starts in the ring, as on the device.
  int64_t Origin(int32_t layer, int32_t group) const;

 private:
  CudaExplicitKernel(const ExplicitView& view, int64_t length)
      : view_(view), length_(length) {}
  absl::Status Fill(const float* kernel, cudaStream_t stream);

  ExplicitView view_;
  int64_t length_;
  DeviceBuffer memory_;
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_EXPLICIT_KERNEL_H_
