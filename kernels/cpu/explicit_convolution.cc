#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/explicit_kernel.h"
#include "kernels/cpu/work_items.h"
#include "kernels/status_macros.h"
#include "kernels/validate.h"

namespace chela {
namespace {

// Nanoseconds of a group for one token, and what a thread must get to be worth
// waking.
constexpr int64_t kGroupTokenNs = 300;
constexpr int64_t kWorthAThreadNs = 5000;

// Groups of one-token segments that a thread takes at a time.
constexpr int64_t kBundle = 8;

void FetchLines(const float* begin, const float* end) {
  constexpr int64_t kLineFloats = 16;
  for (; begin < end; begin += kLineFloats) __builtin_prefetch(begin);
}

// Fetches what one token of each group reads: its pending output, the inputs of
// its aligned block before it, and their taps. Each group's stand in pages of
// their own, and to find a page costs more than the sums. Loads that do not
// wait for each other find many pages at a time, which prefetches do not; so
// one load a page comes first.
void Fetch(const ExplicitGroup* groups, int64_t count) {
  const auto row = [](const ExplicitGroup& group) {
    return group.state + ((group.origin + group.position) & (group.ring - 1)) *
                             group.channels;
  };
  for (int64_t g = 0; g < count; ++g) {
    static_cast<void>(*static_cast<const volatile float*>(row(groups[g])));
    static_cast<void>(*static_cast<const volatile float*>(groups[g].taps));
  }
  for (int64_t g = 0; g < count; ++g) {
    const ExplicitGroup& group = groups[g];
    const int64_t before = (group.origin + group.position) & (group.near - 1);
    FetchLines(row(group) - before * group.channels, row(group));
    FetchLines(group.taps + kGroupChannels,
               group.taps + (before + 1) * kGroupChannels);
  }
}

ExplicitGroup MakeGroup(const ExplicitConvolution& op,
                        const CpuExplicitKernel& kernel, const Segment& segment,
                        int64_t group) {
  const int64_t channel = group * kGroupChannels;
  const int64_t first = int64_t{segment.first_row} * kernel.width() + channel;
  ExplicitGroup out;
  out.channels = std::min(kGroupChannels, kernel.width() - channel);
  out.ring = kernel.ring();
  out.near = kernel.near();
  out.origin = kernel.Origin(op.layer, group);
  out.position = segment.position;
  out.rows = segment.rows;
  out.a = op.a + first;
  out.c = op.c + first;
  out.row_stride = kernel.width();
  out.skip = op.skip + channel;
  out.taps = kernel.taps(group);
  out.spectra = kernel.spectra(group);
  out.twiddles = kernel.twiddles();
  // The rows of a group stand together, so that a tile is one stream.
  out.state = op.state.data + segment.slot * op.state.slot_stride +
              channel * kernel.ring();
  return out;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ExplicitKernel>> CpuBackend::MakeExplicitKernel(
    const float* kernel, int32_t width, int64_t length) {
  return CpuExplicitKernel::Make(kernel, width, length, kernels_, pool_,
                                 FreeBytes());
}

absl::Status CpuBackend::Run(const ExplicitConvolution& op) {
  CHELA_RETURN_IF_ERROR(Validate(op));
  if (op.layer < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "explicit convolution: layer ", op.layer, "; want at least 0"));
  }
  const auto* own = dynamic_cast<const CpuExplicitKernel*>(op.kernel);
  if (own == nullptr) {
    return absl::InvalidArgumentError(
        "explicit convolution: the kernel is not the CPU backend's");
  }
  const CpuExplicitKernel& kernel = *own;
  if (step_.rows == 0) return absl::OkStatus();

  const int64_t segments = static_cast<int64_t>(step_.segments.size());
  const int64_t groups = kernel.groups();
  const int64_t bundle = step_.rows == segments ? kBundle : 1;
  const int64_t bundles = (groups + bundle - 1) / bundle;
  const int64_t workers =
      std::clamp<int64_t>(kGroupTokenNs * groups * step_.rows / kWorthAThreadNs,
                          1, pool_.threads());
  const int64_t work =
      kernel.ring() > kernel.near() ? 3 * kernel.ring() * kGroupChannels : 0;
  float* const memory = convolution_.Get<float>(workers * work);
  if (memory == nullptr && work > 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("explicit convolution: no memory for ", workers, " x ",
                     work * sizeof(float), " bytes of working memory"));
  }
  ForItems(pool_, workers, segments * bundles,
           [&](int64_t worker, int64_t item) {
             const Segment& segment = step_.segments[item / bundles];
             const int64_t begin = item % bundles * bundle;
             const int64_t end = std::min(groups, begin + bundle);
             std::array<ExplicitGroup, kBundle> taken;
             for (int64_t g = begin; g < end; ++g) {
               ExplicitGroup& group = taken[g - begin];
               group = MakeGroup(op, kernel, segment, g);
               group.work = memory + worker * work;
             }
             if (segment.rows == 1) Fetch(taken.data(), end - begin);
             for (int64_t g = begin; g < end; ++g) {
               kernels_.explicit_group(taken[g - begin]);
             }
           });
  return absl::OkStatus();
}

}  // namespace chela
