// The sums of an output of a chunk of the hierarchical convolution, and the
// state behind it, from the chunk's history.
#ifndef CHELA_KERNELS_CUDA_HIERARCHICAL_SUMS_CUH_
#define CHELA_KERNELS_CUDA_HIERARCHICAL_SUMS_CUH_

#include "kernels/cuda/convolution_sums.cuh"
#include "kernels/cuda/hierarchical_history.cuh"

namespace chela::cuda {

// A level's sum when `seen` positions are there. kHalf: half the base length,
// or 0 if it is not known.
template <int kHalf>
__device__ float SumOf(const History& history, int level, int64_t seen) {
  const HierarchicalConvolution& op = history.op;
  const int half = kHalf > 0 ? kHalf : history.half();
  const int64_t newest = (seen >> level) - half;
  if (newest < 0) return 0.0f;
  const float* const taps =
      op.taps + int64_t{level - 1} * half * op.width + history.channel;
  const float* const blocks = &history.Block(level, newest);
  float sum = taps[0] * blocks[0];
  // Blocks before the start are 0.
#pragma unroll
  for (int m = 1; m < half; ++m) {
    sum =
        fmaf(taps[int64_t{m} * op.width], blocks[-int64_t{m} * op.width], sum);
  }
  return sum;
}

// Level 0 without lag 0: by lag mod 8, then those in order. kBase: the base
// length, or 0 if it is not known.
template <int kBase>
__device__ float SumNearOf(const History& history, int64_t position) {
  const HierarchicalConvolution& op = history.op;
  const int base = kBase > 0 ? kBase : op.base_length;
  float near[kResidues] = {};
#pragma unroll
  for (int m = 0; m < base; m += kResidues) {
#pragma unroll
    for (int residue = 0; residue < kResidues; ++residue) {
      const int lag = m + residue;
      if (lag == 0 || lag >= base) continue;
      near[residue] = fmaf(op.taps0[int64_t{lag} * op.width + history.channel],
                           history.Input(position - lag), near[residue]);
    }
  }
  float sum = 0;
#pragma unroll
  for (int residue = 0; residue < kResidues; ++residue) sum += near[residue];
  return sum;
}

// Adds lag 0 and the skip to an output.
__device__ inline void Emit(const History& history, int64_t position, float c) {
  const HierarchicalConvolution& op = history.op;
  const float a = history.Input(position);
  c = fmaf(op.taps0[history.channel], a, c);
  c = fmaf(op.skip[history.channel], a, c);
  op.c[(history.chunk.first_row + position - history.chunk.position) *
           op.width +
       history.channel] = c;
}

// The rings after a chunk: every warp a share of their rows.
__device__ inline void WriteRings(const History& history, int warp, int warps) {
  float* const state = history.State();
  const int64_t width = history.op.width;
  const int rows = RingRow::Count(history.op);
  constexpr int kAtOnce = 4;  // loads under way
  for (int begin = warp; begin < rows; begin += warps * kAtOnce) {
    float values[kAtOnce];
    float* to[kAtOnce] = {};
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (begin + i * warps >= rows) continue;
      const RingRow row(history.op, history.end(), begin + i * warps);
      const int64_t first = row.level == 0 ? history.chunk.position
                                           : history.Before(row.level) + 1;
      if (row.block < max(first, int64_t{0})) continue;  // there already
      values[i] = row.level == 0 ? history.Input(row.block)
                                 : history.Block(row.level, row.block);
      to[i] = state + row.row * width;
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (to[i] != nullptr) *to[i] = values[i];
    }
  }
}

// The state's row of a level's cached sum.
__device__ inline int64_t SumRow(const HierarchicalConvolution& op, int level) {
  return op.base_length + int64_t{op.levels} * (op.base_length / 2 + 1) +
         level - 1;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_HIERARCHICAL_SUMS_CUH_
