// How a warp walks a run of positions of the hierarchical convolution: what it
// keeps in registers, and the outputs of a group of 16 positions.
#ifndef CHELA_KERNELS_CUDA_HIERARCHICAL_WINDOW_CUH_
#define CHELA_KERNELS_CUDA_HIERARCHICAL_WINDOW_CUH_

#include "kernels/cuda/hierarchical_history.cuh"

namespace chela::cuda {

inline constexpr int kGroup = kRunBase;
inline constexpr int kHalf = kRunBase / 2;

// Taps of a warp's channels. Of levels that the kernel has not they are 0.
struct Taps {
  float near[kGroup];
  float levels[kRunLevels][kHalf];
  float skip;

  Taps() = default;
  __device__ Taps(const HierarchicalConvolution& op, int channel) {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      near[i] = op.taps0[int64_t{i} * op.width + channel];
    }
#pragma unroll
    for (int level = 0; level < kRunLevels; ++level) {
#pragma unroll
      for (int m = 0; m < kHalf; ++m) {
        levels[level][m] =
            level < op.levels
                ? op.taps[(int64_t{level} * kHalf + m) * op.width + channel]
                : 0.0f;
      }
    }
    skip = op.skip[channel];
  }
};

// What a run keeps: its last inputs by position mod 16, and of each level the
// blocks that its sum takes, the oldest first.
struct Window {
  float inputs[kGroup];
  float blocks[kRunLevels][kHalf];
  float sums[kRunLevels];  // of a level and all coarser ones

  // Before `seen` positions, a multiple of 16, are seen: 16 inputs, then 8
  // blocks of each level, ever older. The two finest are made of inputs where
  // those are in the chunk.
  __device__ __forceinline__ void Load(const History& history, int64_t seen) {
    const int levels = history.op.levels;
    const bool fine = seen - 4 * kGroup >= history.chunk.position;
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      blocks[2][i] =
          levels < 3 ? 0.0f : history.Block(3, (seen >> 3) - kGroup + i);
    }
    if (fine) {
      LoadFine(history, seen);
      return;
    }
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      inputs[i] = history.Input(seen - kGroup + i);
    }
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      blocks[0][i] = history.Block(1, (seen >> 1) - kGroup + i);
      blocks[1][i] =
          levels < 2 ? 0.0f : history.Block(2, (seen >> 2) - kGroup + i);
    }
  }

  // The levels of the registers that change when kSeen (mod 16) are seen;
  // `above`: the sum of those above.
  template <int kSeen>
  __device__ __forceinline__ void Advance(const Taps& taps, float above) {
    if constexpr (kSeen % 8 == 0) {
      Enter(taps, 2, Mean(blocks[1][0], blocks[1][1]), above);
    }
    if constexpr (kSeen % 4 == 0) {
      Enter(taps, 1, Mean(blocks[0][0], blocks[0][1]), sums[2]);
    }
    if constexpr (kSeen % 2 == 0) {
      Enter(taps, 0, Mean(inputs[kSeen], inputs[kSeen + 1]), sums[1]);
    }
  }

 private:
  __device__ __forceinline__ void LoadFine(const History& history,
                                           int64_t seen) {
    const int64_t width = history.op.width;
    const float* const a =
        history.op.a +
        (history.chunk.first_row + seen - history.chunk.position) * width +
        history.channel;
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      const float* const four = a + (4 * i - 4 * kGroup) * width;
      blocks[1][i] = Mean(Mean(four[0], four[width]),
                          Mean(four[2 * width], four[3 * width]));
    }
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      const float* const two = a + (2 * i - 2 * kGroup) * width;
      blocks[0][i] = Mean(two[0], two[width]);
    }
#pragma unroll
    for (int i = 0; i < kGroup; ++i) inputs[i] = a[(i - kGroup) * width];
  }
  __device__ __forceinline__ void Enter(const Taps& taps, int level,
                                        float block, float above) {
    float* const own = blocks[level];
#pragma unroll
    for (int i = 0; i + 1 < kHalf; ++i) own[i] = own[i + 1];
    own[kHalf - 1] = block;
    float sum = taps.levels[level][0] * block;
#pragma unroll
    for (int m = 1; m < kHalf; ++m) {
      sum = fmaf(taps.levels[level][m], own[kHalf - 1 - m], sum);
    }
    sums[level] = sum + above;
  }
};

// Level 0 without lag 0 at kNow (position mod 16), in the order of decode.
template <int kNow>
__device__ __forceinline__ float SumNear(const Taps& taps,
                                         const float* inputs) {
  float sum = 0;
#pragma unroll
  for (int residue = 0; residue < kResidues; ++residue) {
    float near = 0;
#pragma unroll
    for (int lag = residue; lag < kGroup; lag += kResidues) {
      if (lag == 0) continue;
      // Both begin with a product or a sum alone: x + 0 is x but for the sign
      // of a 0, which the sum of the levels, never -0, takes away.
      const float input = inputs[(kNow - lag + kGroup) % kGroup];
      near = lag < kResidues || residue == 0
                 ? taps.near[lag] * input
                 : fmaf(taps.near[lag], input, near);
    }
    sum = residue == 0 ? near : sum + near;
  }
  return sum;
}

// A group's inputs, and where they and its outputs are. Those from `from` on
// and before `stop` are the run's. The next group's are read as this one's are
// used, so many as `next` says.
struct Group {
  float inputs[kGroup];
  const float* a;
  float* c;
  int64_t width;
  int from;
  int stop;
  int next;
};

// Outputs kSeen and those after it. kWhole: all 16 are the run's, and `next` is
// 0 or 16.
template <bool kWhole, int kSeen>
__device__ __forceinline__ void WalkFrom(const Taps& taps, float above,
                                         Group* group, Window* window) {
  if constexpr (kSeen < kGroup) {
    constexpr int kNow = (kSeen + kGroup - 1) % kGroup;
    const int64_t offset = kSeen * group->width;
    const float a = group->inputs[kSeen];
    if (kWhole ? group->next > 0 : kSeen < group->next) {
      group->inputs[kSeen] = group->a[offset + kGroup * group->width];
    }
    if (kWhole || kSeen >= group->from) window->inputs[kNow] = a;
    window->Advance<kSeen>(taps, above);
    float sum = SumNear<kNow>(taps, window->inputs) + window->sums[0];
    sum = fmaf(taps.near[0], a, sum);
    sum = fmaf(taps.skip, a, sum);
    if (kWhole || (kSeen >= group->from && kSeen < group->stop)) {
      __stcs(group->c + offset, sum);
    }
    WalkFrom<kWhole, kSeen + 1>(taps, above, group, window);
  }
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_HIERARCHICAL_WINDOW_CUH_
