// The sums of convolution_sums.cuh, bit for bit, for steps of many rows: a warp
// asks for all it reads before it adds. With few rows a warp has one part of
// a sum and other warps hide its waits; with many it has several, and would
// wait for memory once for each.
#ifndef CHELA_KERNELS_CUDA_CONVOLUTION_SUMS_MANY_CUH_
#define CHELA_KERNELS_CUDA_CONVOLUTION_SUMS_MANY_CUH_

#include "kernels/cuda/convolution_sums.cuh"

namespace chela::cuda {

// A product that may be missing: it then leaves the sum as it was.
template <int V>
struct Term {
  bool exists = false;
  Channels<V> tap;
  Channels<V> value;
};
template <int V>
__device__ __forceinline__ void AddTerm(const Term<V>& term, Channels<V>* sum) {
  if (term.exists) AddProduct(term.tap, term.value, sum);
}

// SumNear of the residues first, first + step ...: kCount of them.
template <int V, int kCount>
__device__ __forceinline__ void SumNear(const HierarchicalConvolution& op,
                                        const Row& at, const float* state,
                                        int first, int step,
                                        Channels<V> (&near)[kCount]) {
  constexpr int kAtOnce = 2;  // lags of a residue: all, where B is 16
  const int length = op.base_length;
  const int64_t seen = at.position + 1;
  const int held = static_cast<int>(seen < length ? seen : length);
  const int newest = Mod(at.position, length);
  for (int lag = 0; lag < held; lag += kAtOnce * kResidues) {
    Term<V> terms[kCount][kAtOnce];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        const int m = lag + j * kResidues + first + i * step;
        const int row = newest - m + (newest < m ? length : 0);
        Term<V>& term = terms[i][j];
        term.exists = m > 0 && m < held;
        if (term.exists) {
          term.tap = Load<V>(op.taps0 + int64_t{m} * op.width + at.channel);
          term.value = Load<V>(state + int64_t{row} * op.width);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) AddTerm(terms[i][j], &near[i]);
    }
  }
}

// SumLevel of convolution_sums.cuh: its first eight blocks (all, where B is 16)
// are asked for together.
template <int V>
__device__ __forceinline__ Channels<V> SumLevelAtOnce(
    const HierarchicalConvolution& op, const Row& at, float* state, int level) {
  constexpr int kAtOnce = 7;
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
  const float* const taps =
      op.taps + int64_t{level - 1} * half * width + at.channel;
  const int count = static_cast<int>(newest + 1 < half ? newest + 1 : half);
  const int new_row = Mod(newest, half + 1);
  const Channels<V> first = Load<V>(from + Mod(2 * newest, below) * width);
  const Channels<V> second = Load<V>(from + Mod(2 * newest + 1, below) * width);
  const Channels<V> newest_tap = Load<V>(taps);
  for (int begin = 1;; begin += kAtOnce) {
    Term<V> terms[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int m = begin + i;
      const int row = new_row - m + (new_row < m ? half + 1 : 0);
      terms[i].exists = m < count;
      if (terms[i].exists) {
        terms[i].tap = Load<V>(taps + m * width);
        terms[i].value = Load<V>(ring + row * width);
      }
    }
    if (begin == 1) {
      Channels<V> block;
#pragma unroll
      for (int i = 0; i < V; ++i) {
        block.v[i] = 0.5f * (first.v[i] + second.v[i]);
        sum.v[i] = newest_tap.v[i] * block.v[i];
      }
      Store(block, ring + new_row * width);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) AddTerm(terms[i], &sum);
    if (begin + kAtOnce >= count) return sum;
  }
}

// SumShort of convolution_sums.cuh, six lags (all, where K is 7) at once.
template <int V>
__device__ __forceinline__ Channels<V> SumShortAtOnce(
    const ShortConvolution& op, const Row& at) {
  constexpr int kAtOnce = 6;
  const int ring = op.taps - 1;
  const float* const state =
      op.state.data + at.slot * op.state.slot_stride + at.channel;
  Channels<V> sum = Load<V>(op.bias + at.channel);
  const int newest = ring > 0 ? Mod(at.position, ring) : 0;
  for (int begin = 1; begin <= ring; begin += kAtOnce) {
    Term<V> terms[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int m = begin + i;
      const int row = newest - m + (newest < m ? ring : 0);
      terms[i].exists = m <= ring && m <= at.position;
      if (terms[i].exists) {
        terms[i].tap =
            Load<V>(op.weight + int64_t{ring - m} * op.width + at.channel);
        terms[i].value = Load<V>(state + int64_t{row} * op.width);
      }
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) AddTerm(terms[i], &sum);
  }
  return sum;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_CONVOLUTION_SUMS_MANY_CUH_
