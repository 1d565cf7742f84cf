// The explicit kernel by its definition: every output reads up to N inputs.
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr int kChannels = 32;
constexpr int kGroups = 8;

// Lags are summed by lag mod 8, each ascending, then those 8 in order, then the
// skip: the same in both kernels.

// A block owns 32 channels of one row; group g of its threads has the lags that
// are g mod 8.
__global__ void __launch_bounds__(kChannels* kGroups)
    DecodeExplicit(const __grid_constant__ ExplicitConvolution op,
                   const __grid_constant__ ExplicitTaps taps,
                   const __grid_constant__ DecodeRows rows) {
  __shared__ float parts[kGroups][kChannels];
  const int lane = static_cast<int>(threadIdx.x) % kChannels;
  const int group = static_cast<int>(threadIdx.x) / kChannels;
  const int index = static_cast<int>(blockIdx.y);
  const int channel = static_cast<int>(blockIdx.x) * kChannels + lane;
  LetLaterStart();
  WaitForEarlier();
  if (index >= *rows.count) return;
  const int64_t row = rows.rows[index];
  const int64_t position = rows.positions[index];
  float* state =
      op.state.data + rows.slots[index] * op.state.slot_stride + channel;
  const bool in_width = channel < taps.width;
  float a = 0;
  float sum = 0;
  if (in_width) {
    a = __ldcg(op.a + row * taps.width + channel);
    const int64_t held =
        position + 1 < taps.length ? position + 1 : taps.length;
#pragma unroll 8
    for (int64_t m = group; m < held; m += kGroups) {
      const float x =
          m == 0 ? a : state[((position - m) & (taps.ring - 1)) * taps.width];
      sum = fmaf(taps.taps[m * taps.width + channel], x, sum);
    }
  }
  parts[group][lane] = sum;
  __syncthreads();
  if (group != 0 || !in_width) return;
  float c = 0;
#pragma unroll
  for (int i = 0; i < kGroups; ++i) c += parts[i][lane];
  op.c[row * taps.width + channel] = fmaf(op.skip[channel], a, c);
  state[(position & (taps.ring - 1)) * taps.width] = a;
}

// A thread owns one channel of one row of a chunk.
__global__ void __launch_bounds__(kChannels* kGroups)
    ExplicitChunks(const __grid_constant__ ExplicitConvolution op,
                   const __grid_constant__ ExplicitTaps taps,
                   const Chunk* chunks) {
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int channel = static_cast<int>(blockIdx.z) * kChannels +
                      static_cast<int>(threadIdx.x) % kChannels;
  const int r = static_cast<int>(blockIdx.x) * kGroups +
                static_cast<int>(threadIdx.x) / kChannels;
  if (channel >= taps.width || r >= chunk.rows) return;
  const int64_t position = chunk.position + r;
  const float* state =
      op.state.data + chunk.slot * op.state.slot_stride + channel;
  const float* a = op.a + int64_t{chunk.first_row} * taps.width + channel;
  const int64_t held = position + 1 < taps.length ? position + 1 : taps.length;
  float parts[kGroups] = {};
  for (int64_t m = 0; m < held; m += kGroups) {
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      if (m + i >= held) break;
      const float x =
          m + i <= r
              ? a[(r - m - i) * taps.width]
              : state[((position - m - i) & (taps.ring - 1)) * taps.width];
      parts[i] = fmaf(taps.taps[(m + i) * taps.width + channel], x, parts[i]);
    }
  }
  float c = 0;
#pragma unroll
  for (int i = 0; i < kGroups; ++i) c += parts[i];
  op.c[(chunk.first_row + int64_t{r}) * taps.width + channel] =
      fmaf(op.skip[channel], a[int64_t{r} * taps.width], c);
}

// The last inputs of a chunk into the ring; a kernel of its own, since the one
// before still reads the rows that this one replaces.
__global__ void __launch_bounds__(128)
    ExplicitRing(const __grid_constant__ ExplicitConvolution op,
                 const __grid_constant__ ExplicitTaps taps,
                 const Chunk* chunks) {
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int channel = static_cast<int>(blockIdx.z * 128 + threadIdx.x);
  const int64_t r = blockIdx.x;
  if (channel >= taps.width || r >= chunk.rows || r < chunk.rows - taps.ring) {
    return;
  }
  op.state
      .data[chunk.slot * op.state.slot_stride +
            ((chunk.position + r) & (taps.ring - 1)) * taps.width + channel] =
      op.a[(chunk.first_row + r) * taps.width + channel];
}

}  // namespace

cudaError_t LaunchDecode(const ExplicitConvolution& op,
                         const ExplicitTaps& taps, const DecodeRows& rows,
                         int32_t max_rows, bool overlap, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid =
      dim3(Blocks(taps.width, kChannels), static_cast<unsigned>(max_rows));
  shape.block = dim3(kChannels * kGroups);
  shape.overlap = overlap;
  shape.stream = stream;
  return Launch(shape, DecodeExplicit, op, taps, rows);
}

cudaError_t LaunchChunks(const ExplicitConvolution& op,
                         const ExplicitTaps& taps, const Chunk* chunks,
                         int32_t count, int32_t longest, cudaStream_t stream) {
  LaunchShape shape;
  shape.stream = stream;
  shape.grid = dim3(Blocks(longest, kGroups), static_cast<unsigned>(count),
                    Blocks(taps.width, kChannels));
  shape.block = dim3(kChannels * kGroups);
  const cudaError_t error = Launch(shape, ExplicitChunks, op, taps, chunks);
  if (error != cudaSuccess) return error;
  shape.grid = dim3(static_cast<unsigned>(longest),
                    static_cast<unsigned>(count), Blocks(taps.width, 128));
  shape.block = dim3(128);
  return Launch(shape, ExplicitRing, op, taps, chunks);
}

}  // namespace chela::cuda
