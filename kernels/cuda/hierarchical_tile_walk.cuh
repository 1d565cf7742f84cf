// How a thread walks its run of a tile: the outputs of its channel when 32 r ..
// 32 r + 31 positions of the tile were seen.
#ifndef CHELA_KERNELS_CUDA_HIERARCHICAL_TILE_WALK_CUH_
#define CHELA_KERNELS_CUDA_HIERARCHICAL_TILE_WALK_CUH_

#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/hierarchical_tile.cuh"
#include "kernels/cuda/hierarchical_tile_blocks.cuh"
#include "kernels/cuda/hierarchical_window.cuh"

namespace chela::cuda {

// The taps of a thread's channel, from rows in shared memory.
__device__ __forceinline__ Taps TileTaps(const float* rows) {
  rows += static_cast<int>(threadIdx.x) % kTileChannels;
  Taps taps;
#pragma unroll
  for (int i = 0; i < kGroup; ++i) taps.near[i] = rows[i * kTileChannels];
  taps.skip = rows[kSkipRow * kTileChannels];
  rows += kLevelTaps * kTileChannels;
#pragma unroll
  for (int level = 0; level < kRunLevels; ++level) {
#pragma unroll
    for (int m = 0; m < kHalf; ++m) {
      taps.levels[level][m] = rows[(level * kHalf + m) * kTileChannels];
    }
  }
  return taps;
}

// Where a thread's run stands. Outputs from `from` on and before `stop` are the
// chunk's.
struct TileRun {
  const float* inputs;  // in shared memory: the run's first
  const float* one;     // blocks of levels 1 to 3, 16 before those that end
  const float* two;     // with the run's first
  const float* three;
  float above[kTileRun / kGroup];  // the sum of the coarse levels
  float* c;
  int64_t width;
  int from;
  int stop;
};

// What a run has in registers.
inline constexpr int kAhead = 4;  // inputs under way
struct TileWindow {
  float inputs[kGroup];  // by position mod 16
  float one[kHalf];      // blocks of levels 1 and 2, by index mod 8
  float two[kHalf];
  float three[kHalf + 4];  // all of the run, the oldest first
  float next_inputs[kAhead];
  float next_one[4];
  float next_two[4];
  float sums[kRunLevels];  // of a level and all coarser ones

  __device__ __forceinline__ explicit TileWindow(const TileRun& run) {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {  // behind a row of padding
      inputs[i] = run.inputs[(i - kGroup - 1) * kTileChannels];
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      next_inputs[i] = run.inputs[i * kTileChannels];
    }
#pragma unroll
    for (int i = 0; i < kHalf; i += 4) {
      LoadFour(run.one + i, one + i);
      LoadFour(run.two + i, two + i);
    }
#pragma unroll
    for (int i = 0; i < kHalf + 4; i += 4) LoadFour(run.three + i, three + i);
    LoadFour(run.one + kHalf, next_one);
    LoadFour(run.two + kHalf, next_two);
  }
  // Input kIndex of the run enters.
  template <int kIndex>
  __device__ __forceinline__ void EnterInput(const TileRun& run) {
    inputs[kIndex % kGroup] = next_inputs[kIndex % kAhead];
    if constexpr (kIndex + kAhead < kTileRun - 1) {
      next_inputs[kIndex % kAhead] =
          run.inputs[(kIndex + kAhead) * kTileChannels];
    }
  }
  // The levels of the registers that change when kSeen of the run are seen.
  template <int kSeen>
  __device__ __forceinline__ void Advance(const Taps& taps,
                                          const TileRun& run) {
    if constexpr (kSeen % 8 == 0) {
      constexpr int kNewest = kSeen / 8 + kHalf;
      float sum = taps.levels[2][0] * three[kNewest];
#pragma unroll
      for (int m = 1; m < kHalf; ++m) {
        sum = fmaf(taps.levels[2][m], three[kNewest - m], sum);
      }
      sums[2] = sum + run.above[kSeen / kGroup];
    }
    if constexpr (kSeen % 4 == 0) {
      Enter<kSeen / 4, kTileRun / 4>(run.two, next_two, two);
      sums[1] = RingSum<kSeen / 4>(taps.levels[1], two) + sums[2];
    }
    if constexpr (kSeen % 2 == 0) {
      Enter<kSeen / 2, kTileRun / 2>(run.one, next_one, one);
      sums[0] = RingSum<kSeen / 2>(taps.levels[0], one) + sums[1];
    }
  }

 private:
  // Block kIndex of the run's kCount enters.
  template <int kIndex, int kCount>
  __device__ __forceinline__ void Enter(const float* from, float* next,
                                        float* ring) {
    ring[kIndex % kHalf] = next[kIndex % 4];
    if constexpr (kIndex % 4 == 3 && kIndex + 1 < kCount) {
      LoadFour(from + kHalf + kIndex + 1, next);
    }
  }
  template <int kNewest>
  __device__ __forceinline__ float RingSum(const float* taps,
                                           const float* ring) {
    float sum = taps[0] * ring[kNewest % kHalf];
#pragma unroll
    for (int m = 1; m < kHalf; ++m) {
      sum = fmaf(taps[m], ring[(kNewest + kHalf - m) % kHalf], sum);
    }
    return sum;
  }
};

// Outputs kSeen and those after it. kWhole: all are the chunk's, but the first
// of a run that begins with the chunk.
template <bool kWhole, int kSeen>
__device__ __forceinline__ void WalkRunFrom(const Taps& taps,
                                            const TileRun& run,
                                            TileWindow* window) {
  if constexpr (kSeen < kTileRun) {
    constexpr int kNow = (kSeen + kGroup - 1) % kGroup;
    if constexpr (kSeen > 0) window->EnterInput<kSeen - 1>(run);
    window->Advance<kSeen>(taps, run);
    const float a = window->inputs[kNow];
    float sum = SumNear<kNow>(taps, window->inputs) + window->sums[0];
    sum = fmaf(taps.near[0], a, sum);
    sum = fmaf(taps.skip, a, sum);
    if ((kWhole && kSeen > 0) ||
        (kSeen >= run.from && (kWhole || kSeen < run.stop))) {
      __stcs(run.c + kSeen * run.width, sum);
    }
    WalkRunFrom<kWhole, kSeen + 1>(taps, run, window);
  }
}

// The sum of the levels above 4 in a run.
__device__ __forceinline__ float SumAbove(const Place& place,
                                          const TileMemory& memory, int channel,
                                          int run) {
  float above = 0;
  for (int level = memory.levels; level > kGridLevels; --level) {
    const int64_t seen = (place.begin + run * kTileRun) >> level;
    above = memory.Sums(level, channel)[seen - place.FirstBlock(level)] + above;
  }
#pragma unroll
  for (int level = kGridLevels; level > kFirstCoarse; --level) {
    above = memory.Sums(level, channel)[run >> (level - 5)] + above;
  }
  return above;
}

__device__ __forceinline__ void WalkTile(const HierarchicalConvolution& op,
                                         const Place& place,
                                         const TileMemory& memory,
                                         const Taps& taps, int buffer) {
  const int own = static_cast<int>(threadIdx.x) % kTileChannels;
  const int run = static_cast<int>(threadIdx.x) / kTileChannels;
  const int channel = place.channel + own;
  // By outputs, of which the first is that when as many positions were seen as
  // at the run's begin.
  const int64_t seen = place.begin + run * kTileRun;
  const int64_t first = place.position + 1 - seen;
  const int64_t stop = channel < op.width ? place.end() + 1 - seen : 0;
  if (__all_sync(kWholeWarp, first >= kTileRun || stop <= 0)) return;
  const float above = SumAbove(place, memory, own, run);
  const float* const four = memory.Sums(kFirstCoarse, own) + 2 * run;
  const TileRun own_run = {
      .inputs = memory.Input(buffer, run * kTileRun, own),
      .one = memory.Blocks(1, own) + run * (kTileRun / 2),
      .two = memory.Blocks(2, own) + run * (kTileRun / 4),
      .three = memory.Blocks(3, own) + run * (kTileRun / 8),
      .above = {four[0] + above, four[1] + above},
      .c = op.c + (place.first_row - first) * op.width + channel,
      .width = op.width,
      .from = static_cast<int>(max(first, int64_t{0})),
      .stop = static_cast<int>(min(stop, int64_t{kTileRun}))};
  TileWindow window(own_run);
  if (__all_sync(kWholeWarp, first <= 1 && stop >= kTileRun)) {
    WalkRunFrom<true, 0>(taps, own_run, &window);
  } else {
    WalkRunFrom<false, 0>(taps, own_run, &window);
  }
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_HIERARCHICAL_TILE_WALK_CUH_
