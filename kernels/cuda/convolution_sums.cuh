// The sums of a decode row's convolutions over what came before its input.
#ifndef CHELA_KERNELS_CUDA_CONVOLUTION_SUMS_CUH_
#define CHELA_KERNELS_CUDA_CONVOLUTION_SUMS_CUH_

#include "kernels/cuda/channels.cuh"
#include "kernels/long_convolution.h"
#include "kernels/short_convolution.h"

namespace chela::cuda {

inline constexpr int kResidues = 8;  // level 0 is summed by lag mod 8

// position mod length, in 32 bits where they do: 64-bit divisions are slow.
__device__ __forceinline__ int Mod(int64_t position, int length) {
  return position >> 31 == 0
             ? static_cast<int>(static_cast<uint32_t>(position) %
                                static_cast<uint32_t>(length))
             : static_cast<int>(position % length);
}

struct Row {
  int64_t position = 0;
  int64_t slot = 0;
  int64_t row = 0;
  int channel = 0;  // the lane's first
};

// The level-0 lags that are `residue` mod 8, without lag 0.
template <int V>
__device__ Channels<V> SumNear(const HierarchicalConvolution& op, const Row& at,
                               const float* state, int residue) {
  const int length = op.base_length;
  const int64_t seen = at.position + 1;
  const int held = static_cast<int>(seen < length ? seen : length);
  Channels<V> near;
  int row = Mod(at.position, length) - residue;
  if (row < 0) row += length;
#pragma unroll 2
  for (int m = residue; m < held; m += kResidues) {
    if (m > 0) {
      AddProduct(Load<V>(op.taps0 + int64_t{m} * op.width + at.channel),
                 Load<V>(state + int64_t{row} * op.width), &near);
    }
    row -= kResidues;
    while (row < 0) row += length;
  }
  return near;
}

// The sum of a level that changes now; its new block enters the ring.
template <int V>
__device__ Channels<V> SumLevel(const HierarchicalConvolution& op,
                                const Row& at, float* state, int level) {
  const int64_t width = op.width;
  const int length = op.base_length;
  const int half = length / 2;
  const int64_t newest = ((at.position + 1) >> level) - half;
  Channels<V> sum;
  if (newest < 0) return sum;
  const int below = level == 1 ? length : half + 1;
  const float* from =
      state + (level == 1 ? 0 : length + (level - 2) * (half + 1)) * width;
  float* const ring = state + (length + (level - 1) * (half + 1)) * width;
  const Channels<V> first = Load<V>(from + Mod(2 * newest, below) * width);
  const Channels<V> second = Load<V>(from + Mod(2 * newest + 1, below) * width);
  const float* const taps =
      op.taps + int64_t{level - 1} * half * width + at.channel;
  const Channels<V> newest_tap = Load<V>(taps);
  const int count = static_cast<int>(newest + 1 < half ? newest + 1 : half);
  const int new_row = Mod(newest, half + 1);
  Channels<V> block;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    block.v[i] = 0.5f * (first.v[i] + second.v[i]);
    sum.v[i] = newest_tap.v[i] * block.v[i];
  }
  int ring_row = new_row;
  constexpr int kAtOnce = 4;  // loads under way
  for (int m = 1; m < count; m += kAtOnce) {
    Channels<V> tap[kAtOnce];
    Channels<V> old[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      ring_row = ring_row == 0 ? half : ring_row - 1;
      if (m + i >= count) break;
      tap[i] = Load<V>(taps + (m + i) * width);
      old[i] = Load<V>(ring + ring_row * width);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (m + i < count) AddProduct(tap[i], old[i], &sum);
    }
  }
  Store(block, ring + new_row * width);
  return sum;
}

template <int V>
__device__ Channels<V> SumShort(const ShortConvolution& op, const Row& at) {
  const int ring = op.taps - 1;
  const float* state =
      op.state.data + at.slot * op.state.slot_stride + at.channel;
  Channels<V> sum = Load<V>(op.bias + at.channel);
  int row = ring > 0 ? Mod(at.position, ring) : 0;
#pragma unroll 6
  for (int m = 1; m < op.taps && m <= at.position; ++m) {
    row = row == 0 ? ring - 1 : row - 1;
    AddProduct(Load<V>(op.weight + int64_t{ring - m} * op.width + at.channel),
               Load<V>(state + int64_t{row} * op.width), &sum);
  }
  return sum;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_CONVOLUTION_SUMS_CUH_
