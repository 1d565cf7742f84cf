#ifndef CHELA_KERNELS_CPU_EXPLICIT_KERNEL_H_
#define CHELA_KERNELS_CPU_EXPLICIT_KERNEL_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/cpu/aligned_memory.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/long_convolution.h"

namespace chela {

// The CPU's ExplicitKernel. Channels are taken in groups of kGroupChannels,
// the last one padded with zeros. A group has its first P = min(M, kNearTaps)
// taps and, for the tiles of U = P, 2P .. M, spectra of 2U floats a channel:
// about 4M floats a channel in all, float32, computed in float64 (fft.h).
//
// Threads: immutable.
class CpuExplicitKernel final : public ExplicitKernel {
 public:
  // kernel: [width, length]. INVALID_ARGUMENT for a size below 1 or a length
  // above 2^30, RESOURCE_EXHAUSTED if the result would not fit `free_bytes`.
  static absl::StatusOr<std::unique_ptr<CpuExplicitKernel>> Make(
      const float* kernel, int32_t width, int64_t length,
      const CpuKernelTable& kernels, ThreadPool& pool, int64_t free_bytes);

  int32_t width() const override { return width_; }
  int64_t length() const override { return length_; }
  size_t size_bytes() const override { return memory_.size_bytes(); }

  int64_t ring() const { return ring_; }  // M
  int64_t near() const { return near_; }  // P
  int64_t groups() const {
    return (width_ + kGroupChannels - 1) / kGroupChannels;
  }

  // Where group `group` of layer `layer` starts in the ring: the groups of all
  // layers, one after the other, are spread so that at every step about as many
  // tiles of each size fire.
  int64_t Origin(int32_t layer, int64_t group) const;

  const float* taps(int64_t group) const {
    return data() + group * GroupFloats();
  }
  const float* spectra(int64_t group) const {
    return taps(group) + near_ * kGroupChannels;
  }
  const float* twiddles() const { return data() + groups() * GroupFloats(); }

 private:
  CpuExplicitKernel(int32_t width, int64_t length);

  float* data() const { return static_cast<float*>(memory_.data()); }
  int64_t SpectraRows() const { return 2 * ring_ - near_; }
  int64_t GroupFloats() const;
  int64_t TwiddleFloats() const;

  int32_t width_;
  int64_t length_;
  int64_t ring_;
  int64_t near_;
  AlignedMemory memory_;
};

}  // namespace chela

#endif  // CHELA_KERNELS_CPU_EXPLICIT_KERNEL_H_
