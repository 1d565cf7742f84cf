#include "kernels/cuda/explicit_kernel.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <numbers>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/cuda/explicit_parts.h"
#include "kernels/explicit_layout.h"
#include "kernels/status_macros.h"

namespace chela::cuda {
namespace {

std::atomic<int64_t> most_shared_bytes = INT64_MAX;

// e^(i theta/2) of the even blocks of each depth, as RootIndex counts them.
std::vector<float2> MakeRoots(int32_t log_ring) {
  std::vector<float2> roots;
  const auto add = [&roots](double angle) {
    roots.push_back({static_cast<float>(std::cos(angle)),
                     static_cast<float>(std::sin(angle))});
  };
  // theta of the blocks of a depth (fft.h); block 2m of the next has half of
  // that of block m.
  std::vector<double> angles = {std::numbers::pi / 2};
  add(angles[0] / 2);
  for (int depth = 1; depth < log_ring; ++depth) {
    std::vector<double> next;
    for (const double angle : angles) {
      add(angle / 4);
      next.push_back(angle / 2);
      next.push_back(angle / 2 + std::numbers::pi);
    }
    angles = std::move(next);
  }
  return roots;
}

absl::Status Upload(const void* host, void* device, size_t bytes,
                    cudaStream_t stream) {
  CHELA_RETURN_IF_ERROR(CudaStatus(
      cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream),
      "upload an explicit kernel"));
  return CudaStatus(cudaStreamSynchronize(stream), "upload an explicit kernel");
}

}  // namespace

void LimitSharedBytes(int64_t bytes) { most_shared_bytes = bytes; }

int64_t CudaExplicitKernel::Origin(int32_t layer, int32_t group) const {
  const int64_t unit = int64_t{layer} * view_.groups + group;
  return unit % view_.ring * view_.origin_stride % view_.ring;
}

absl::StatusOr<std::unique_ptr<CudaExplicitKernel>> CudaExplicitKernel::Make(
    const float* kernel, int32_t width, int64_t length, int64_t shared_bytes,
    cudaStream_t stream) {
  if (width < 1 || length < 1 || length > kMaxExplicitRing) {
    return absl::InvalidArgumentError(absl::StrCat(
        "explicit kernel on a CUDA device: width ", width, ", length ", length,
        "; want a width of at least 1 and a length of 1 to ",
        kMaxExplicitRing));
  }
  const auto ring =
      static_cast<int32_t>(std::bit_ceil(static_cast<uint64_t>(length)));
  ExplicitView view;
  view.width = width;
  view.groups =
      static_cast<int32_t>((width + kGroupChannels - 1) / kGroupChannels);
  view.ring = ring;
  view.log_ring = std::bit_width(static_cast<uint32_t>(ring)) - 1;
  view.origin_stride = static_cast<int32_t>(ExplicitOriginStride(ring));
  view.by_blocks =
      ring >= 2 * kBlock &&
      std::min(shared_bytes, most_shared_bytes.load()) >= BlocksSharedBytes();
  std::unique_ptr<CudaExplicitKernel> made(
      new CudaExplicitKernel(view, length));
  CHELA_RETURN_IF_ERROR(made->Fill(kernel, stream));
  return made;
}

absl::Status CudaExplicitKernel::Fill(const float* kernel,
                                      cudaStream_t stream) {
  const int64_t channels = view_.groups * kGroupChannels;
  const bool transforms = view_.ring > kDirectTile;
  const int64_t rows = transforms ? 2 * int64_t{view_.ring} - kDirectTaps : 0;
  const int64_t root_count = transforms ? view_.ring / 2 : 0;
  const int64_t tap_count = channels * kDirectTaps;
  const int64_t block_count = channels * BlockDistances(view_) * kBlock;
  const int64_t lag_count = view_.by_blocks ? channels * kBlock : 0;
  const int64_t bytes =
      (tap_count + lag_count) * static_cast<int64_t>(sizeof(float)) +
      (channels * rows + root_count + block_count) *
          static_cast<int64_t>(sizeof(float2));
  absl::StatusOr<DeviceBuffer> memory =
      DeviceBuffer::Allocate(static_cast<size_t>(bytes));
  if (!memory.ok()) return memory.status();
  memory_ = *std::move(memory);
  auto* const taps = static_cast<float*>(memory_.data());
  float* const lags = taps + tap_count;
  auto* const spectra = reinterpret_cast<float2*>(lags + lag_count);
  float2* const blocks = spectra + channels * rows;
  float2* const roots = blocks + block_count;
  view_.taps = taps;
  view_.lags = lags;
  view_.spectra = spectra;
  view_.blocks = blocks;
  view_.roots = roots;

  const size_t raw_bytes =
      static_cast<size_t>(view_.width * length_) * sizeof(float);
  absl::StatusOr<DeviceBuffer> raw = DeviceBuffer::Allocate(raw_bytes);
  if (!raw.ok()) return raw.status();
  CHELA_RETURN_IF_ERROR(Upload(kernel, raw->data(), raw_bytes, stream));
  const auto* const from = static_cast<const float*>(raw->data());
  CHELA_RETURN_IF_ERROR(
      CudaStatus(LaunchMakeTaps(view_, from, length_, taps, stream),
                 "make the taps of an explicit kernel"));
  DeviceBuffer scratch;
  if (transforms) {
    const std::vector<float2> table = MakeRoots(view_.log_ring);
    CHELA_RETURN_IF_ERROR(
        Upload(table.data(), roots, table.size() * sizeof(float2), stream));
    absl::StatusOr<DeviceBuffer> room = DeviceBuffer::Allocate(
        static_cast<size_t>(std::min<int64_t>(channels, kSpectrumChannels)) *
        static_cast<size_t>(view_.ring) * sizeof(double2));
    if (!room.ok()) return room.status();
    scratch = *std::move(room);
    CHELA_RETURN_IF_ERROR(
        CudaStatus(LaunchMakeSpectra(view_, from, length_,
                                     static_cast<double2*>(scratch.data()),
                                     spectra, stream),
                   "make the spectra of an explicit kernel"));
    if (view_.by_blocks) {
      CHELA_RETURN_IF_ERROR(
          CudaStatus(LaunchMakeLags(view_, from, length_, lags, stream),
                     "make the lags of an explicit kernel"));
      CHELA_RETURN_IF_ERROR(CudaStatus(
          LaunchMakeBlockSpectra(view_, from, length_,
                                 static_cast<double2*>(scratch.data()), blocks,
                                 stream),
          "make the spectra of an explicit kernel's blocks"));
    }
  }
  return CudaStatus(cudaStreamSynchronize(stream), "make an explicit kernel");
}

}  // namespace chela::cuda
