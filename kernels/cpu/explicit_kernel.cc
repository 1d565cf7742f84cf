#include "kernels/cpu/explicit_kernel.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/cpu/fft.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/work_items.h"

namespace chela {
namespace {

constexpr int64_t kMaxLength = int64_t{1} << 30;

// kernel[channel][lag], 0 beyond the kernel.
class Taps {
 public:
  Taps(const float* kernel, int64_t width, int64_t length, int64_t group)
      : kernel_(kernel + group * kGroupChannels * length),
        channels_(std::min(kGroupChannels, width - group * kGroupChannels)),
        length_(length) {}
  float At(int64_t channel, int64_t lag) const {
    return channel < channels_ && lag < length_
               ? kernel_[channel * length_ + lag]
               : 0.0f;
  }

 private:
  const float* kernel_;
  int64_t channels_;
  int64_t length_;
};

// The spectrum of the taps h_0 .. h_{2U-1}, divided by U so that tiles need
// not. Lag 0 meets no output of a tile; it is left out to keep it from adding
// rounding errors.
void MakeSpectrum(const Taps& taps, FftBlock block,
                  const CpuKernelTable& kernels, float* spectrum) {
  const double scale = 1.0 / static_cast<double>(block.size);
  for (int64_t n = 0; n < block.size; ++n) {
    double* row = block.rows + 2 * kGroupChannels * n;
    for (int64_t lane = 0; lane < kGroupChannels; ++lane) {
      row[lane] = n == 0 ? 0.0 : scale * taps.At(lane, n);
      row[kGroupChannels + lane] = scale * taps.At(lane, block.size + n);
    }
  }
  kernels.fft_block(block);
  std::transform(block.rows, block.rows + 2 * kGroupChannels * block.size,
                 spectrum, [](double x) { return static_cast<float>(x); });
}

}  // namespace

CpuExplicitKernel::CpuExplicitKernel(int32_t width, int64_t length)
    : width_(width),
      length_(length),
      ring_(static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(length)))),
      near_(std::min(ring_, kNearTaps)) {}

int64_t CpuExplicitKernel::GroupFloats() const {
  const int64_t spectra = ring_ > near_ ? 2 * SpectraRows() : 0;
  return (near_ + spectra) * kGroupChannels;
}

int64_t CpuExplicitKernel::TwiddleFloats() const {
  return ring_ > near_ ? kTwiddleElements * (ring_ - 1) : 0;
}

int64_t CpuExplicitKernel::Origin(int32_t layer, int64_t group) const {
  const int64_t unit = layer * groups() + group;
  return unit % ring_ * ExplicitOriginStride(ring_) % ring_;
}

absl::StatusOr<std::unique_ptr<CpuExplicitKernel>> CpuExplicitKernel::Make(
    const float* kernel, int32_t width, int64_t length,
    const CpuKernelTable& kernels, ThreadPool& pool, int64_t free_bytes) {
  if (width < 1 || length < 1 || length > kMaxLength) {
    return absl::InvalidArgumentError(absl::StrCat(
        "explicit kernel: width ", width, ", length ", length,
        "; want a width of at least 1 and a length of 1 to ", kMaxLength));
  }
  std::unique_ptr<CpuExplicitKernel> made(new CpuExplicitKernel(width, length));
  const int64_t floats =
      made->groups() * made->GroupFloats() + made->TwiddleFloats();
  const int64_t bytes = floats * static_cast<int64_t>(sizeof(float));
  // One transform for each thread at a time.
  const int64_t block = 2 * kGroupChannels * made->ring_;
  const int64_t working =
      pool.threads() * block * static_cast<int64_t>(sizeof(double));
  Scratch scratch;
  double* rows = nullptr;
  // Asked for only if it fits: the system would promise more than it has.
  if (bytes <= free_bytes - working) {
    made->memory_ = AlignedMemory(static_cast<size_t>(bytes));
    rows = scratch.Get<double>(pool.threads() * block);
  }
  if (made->memory_.data() == nullptr || rows == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("CPU memory: explicit kernel of width ", width,
                     ", length ", length, ": ", bytes, " bytes and ", working,
                     " to make it asked, ", free_bytes, " free"));
  }

  const int depths = std::bit_width(static_cast<uint64_t>(made->ring_)) - 1;
  const std::vector<double> twiddles = MakeTwiddles(depths);
  std::transform(twiddles.begin(), twiddles.begin() + made->TwiddleFloats(),
                 const_cast<float*>(made->twiddles()),
                 [](double x) { return static_cast<float>(x); });
  ForItems(
      pool, pool.threads(), made->groups(), [&](int64_t worker, int64_t group) {
        const Taps taps(kernel, width, length, group);
        float* out = made->data() + group * made->GroupFloats();
        for (int64_t lag = 0; lag < made->near_; ++lag) {
          for (int64_t lane = 0; lane < kGroupChannels; ++lane) {
            *out++ = taps.At(lane, lag);
          }
        }
        if (made->ring_ == made->near_) return;
        for (int64_t size = made->near_; size <= made->ring_; size *= 2) {
          MakeSpectrum(taps, {size, twiddles.data(), rows + worker * block},
                       kernels, out);
          out += 2 * kGroupChannels * size;
        }
      });
  return made;
}

}  // namespace chela
