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

// What sums take of the state is asked for before any of it is used: a warp
// that waits for each load alone takes many times as long as its bytes.

// Rows of level 0's ring: lags `residue`, `residue` + 8 .., without lag 0.
template <int V>
struct NearPast {
  static constexpr int kAtOnce = 2;
  Channels<V> rows[kAtOnce];

  __device__ __forceinline__ void Ask(const HierarchicalConvolution& op,
                                      const Row& at, const float* state,
                                      int first) {
    const int now = Mod(at.position, op.base_length);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int lag = first + i * kResidues;
      if (!Exists(op, at, lag)) continue;
      const int row = now < lag ? now - lag + op.base_length : now - lag;
      rows[i] = Load<V>(state + int64_t{row} * op.width);
    }
  }
  static __device__ __forceinline__ bool Exists(
      const HierarchicalConvolution& op, const Row& at, int lag) {
    return lag > 0 && lag < op.base_length && lag <= at.position;
  }
};

// `past`: asked for from `residue` on.
template <int V>
__device__ __forceinline__ Channels<V> SumNear(
    const HierarchicalConvolution& op, const Row& at, const float* state,
    int residue, NearPast<V> past) {
  constexpr int kAtOnce = NearPast<V>::kAtOnce;
  Channels<V> near;
  for (int first = residue;;) {
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int lag = first + i * kResidues;
      if (!NearPast<V>::Exists(op, at, lag)) continue;
      AddProduct(Load<V>(op.taps0 + int64_t{lag} * op.width + at.channel),
                 past.rows[i], &near);
    }
    first += kAtOnce * kResidues;
    if (first >= op.base_length) return near;
    past.Ask(op, at, state, first);
  }
}

// What the sum of a level that changes now takes: the halves of its new block,
// and the blocks in its ring.
template <int V>
struct LevelPast {
  static constexpr int kAtOnce = 7;  // half of the usual base length, less one
  Channels<V> halves[2];
  Channels<V> blocks[kAtOnce];
  float* ring = nullptr;
  int new_row = 0;  // of the ring
  int count = 0;    // of blocks with the new one; 0: none has ended

  __device__ __forceinline__ LevelPast(const HierarchicalConvolution& op,
                                       const Row& at, float* state, int level) {
    const int64_t width = op.width;
    const int length = op.base_length;
    const int half = length / 2;
    const int64_t newest = ((at.position + 1) >> level) - half;
    if (newest < 0) return;
    const int below = level == 1 ? length : half + 1;
    const float* const from =
        state + (level == 1 ? 0 : length + (level - 2) * (half + 1)) * width;
    ring = state + (length + (level - 1) * (half + 1)) * width;
    new_row = Mod(newest, half + 1);
    count = static_cast<int>(newest + 1 < half ? newest + 1 : half);
    halves[0] = Load<V>(from + Mod(2 * newest, below) * width);
    halves[1] = Load<V>(from + Mod(2 * newest + 1, below) * width);
    Ask(op, 1);
  }
  // Blocks that end `first` before the new one and earlier.
  __device__ __forceinline__ void Ask(const HierarchicalConvolution& op,
                                      int first) {
    const int rows = op.base_length / 2 + 1;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (first + i >= count) continue;
      const int row = new_row - first - i;
      blocks[i] =
          Load<V>(ring + int64_t{row < 0 ? row + rows : row} * op.width);
    }
  }
};

// The sum of a level that changes now; its new block enters the ring.
template <int V>
__device__ __forceinline__ Channels<V> SumLevel(
    const HierarchicalConvolution& op, const Row& at, int level,
    LevelPast<V> past) {
  constexpr int kAtOnce = LevelPast<V>::kAtOnce;
  Channels<V> sum;
  if (past.count == 0) return sum;
  const float* const taps =
      op.taps + int64_t{level - 1} * (op.base_length / 2) * op.width +
      at.channel;
  const Channels<V> newest_tap = Load<V>(taps);
  Channels<V> block;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    block.v[i] = 0.5f * (past.halves[0].v[i] + past.halves[1].v[i]);
    sum.v[i] = newest_tap.v[i] * block.v[i];
  }
  for (int first = 1; first < past.count; first += kAtOnce) {
    if (first > 1) past.Ask(op, first);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (first + i >= past.count) continue;
      AddProduct(Load<V>(taps + int64_t{first + i} * op.width), past.blocks[i],
                 &sum);
    }
  }
  Store(block, past.ring + int64_t{past.new_row} * op.width);
  return sum;
}

template <int V>
__device__ Channels<V> SumShort(const ShortConvolution& op, const Row& at) {
  const int ring = op.taps - 1;
  const float* state =
      op.state.data + at.slot * op.state.slot_stride + at.channel;
  Channels<V> sum = Load<V>(op.bias + at.channel);
  const int now = ring > 0 ? Mod(at.position, ring) : 0;
  constexpr int kAtOnce = 6;  // all of the usual kernel
  for (int first = 1; first <= ring && first <= at.position; first += kAtOnce) {
    Channels<V> old[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int lag = first + i;
      if (lag > ring || lag > at.position) continue;
      const int row = now < lag ? now - lag + ring : now - lag;
      old[i] = Load<V>(state + int64_t{row} * op.width);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int lag = first + i;
      if (lag > ring || lag > at.position) continue;
      AddProduct(
          Load<V>(op.weight + int64_t{ring - lag} * op.width + at.channel),
          old[i], &sum);
    }
  }
  return sum;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_CONVOLUTION_SUMS_CUH_
