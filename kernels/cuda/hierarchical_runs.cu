// Outputs of whole groups of 16 positions, base length 16: a warp owns 32
// channels of a run of groups and walks it with level 0 to 3 in registers,
// where they have a constant place. A group's outputs are those that come when
// 16 g .. 16 g + 15 positions were seen, so that the levels above 3 change only
// with its first. Positions of a chunk before its first multiple of 16 have a
// warp each, which sums all there is to sum.
#include <algorithm>

#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/hierarchical_runs.h"
#include "kernels/cuda/hierarchical_sums.cuh"
#include "kernels/cuda/hierarchical_window.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr int kLanes = 32;
constexpr int kWarps = 4;
constexpr int kMostGroups = 8;  // of a run
// A warp for each position that the runs leave, and one for the cached sums.
constexpr int kFinishBlocks = kGroup / kWarps;
constexpr int kBlocksAtOnce = 4;  // on a multiprocessor

// The first group whose outputs the runs make.
__host__ __device__ int64_t FirstGroup(const Chunk& chunk) {
  return (chunk.position + kGroup - 1) / kGroup;
}

// What the sums of a level above those in registers take in a run.
struct Coarse {
  float taps[kHalf];
  float blocks[kHalf + kMostGroups - 1];  // the oldest first
  int64_t first = 0;                      // of the run's sums: blocks seen
  int count = 0;                          // of different sums

  __device__ __forceinline__ Coarse(const History& history, int level,
                                    int64_t group, int groups) {
    if (level <= kRunLevels) return;
    const int64_t width = history.op.width;
    first = group >> (level - 4);
    count = static_cast<int>(((group + groups - 1) >> (level - 4)) - first) + 1;
    const float* const tap =
        history.op.taps + int64_t{level - 1} * kHalf * width + history.channel;
    const float* const block = &history.Block(level, first - 2 * kHalf + 1);
#pragma unroll
    for (int m = 0; m < kHalf; ++m) taps[m] = tap[m * width];
#pragma unroll
    for (int i = 0; i < kHalf + kMostGroups - 1; ++i) {
      if (i < kHalf + count - 1) blocks[i] = block[i * width];
    }
  }
  // Adds the level to the sums of the levels above it.
  __device__ __forceinline__ void AddTo(int level, int64_t group, int groups,
                                        float (*above)[kLanes]) const {
    const int lane = static_cast<int>(threadIdx.x) % kLanes;
    const int64_t period = int64_t{1} << (level - 4);  // in groups
    const int step = static_cast<int>(min(period, int64_t{kMostGroups}));
    int until = static_cast<int>(
        min(period - (group & (period - 1)), int64_t{kMostGroups}));
    int at = 0;
#pragma unroll
    for (int i = 0; i < kMostGroups; ++i) {
      if (i >= count) break;
      float sum = taps[0] * blocks[i + kHalf - 1];
#pragma unroll
      for (int m = 1; m < kHalf; ++m) {
        sum = fmaf(taps[m], blocks[i + kHalf - 1 - m], sum);
      }
      for (; at < min(until, groups); ++at) {
        above[at][lane] = sum + above[at][lane];
      }
      until += step;
    }
  }
};

// The sums of the levels above those in registers for the groups of a run. The
// next level is loaded while one is summed.
__device__ __forceinline__ void SumAbove(const History& history, int64_t group,
                                         int groups, float (*above)[kLanes]) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  for (int i = 0; i < groups; ++i) above[i][lane] = 0;
  int level = history.op.levels;
  Coarse now(history, level, group, groups);
  for (; level > kRunLevels; --level) {
    const Coarse next(history, level - 1, group, groups);
    now.AddTo(level, group, groups, above);
    now = next;
  }
}

__device__ __forceinline__ void WalkRun(const History& history,
                                        const Taps& taps, int64_t first,
                                        int groups, float (*above)[kLanes]) {
  const HierarchicalConvolution& op = history.op;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int64_t width = op.width;
  const int64_t seen = first * kGroup;
  const int64_t offset =
      (history.chunk.first_row + seen - 1 - history.chunk.position) * width +
      history.channel;
  int left = static_cast<int>(
      min(history.end() + 1 - seen, int64_t{kMostGroups + 1} * kGroup));
  Group group;
  group.a = op.a + offset;
  group.c = op.c + offset;
  group.width = width;
  // The first output of a group that begins with the chunk is not its own.
  group.from = seen == history.chunk.position ? 1 : 0;
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    group.inputs[i] = i >= group.from && i < left ? group.a[i * width] : 0.0f;
  }
  SumAbove(history, first, groups, above);
  Window window;
  window.Load(history, seen);
  for (int i = 0; i < groups; ++i) {
    group.stop = min(left, kGroup);
    group.next = i + 1 < groups ? min(left - kGroup, kGroup) : 0;
    if (group.from == 0 && group.stop == kGroup &&
        (group.next == 0 || group.next == kGroup)) {
      WalkFrom<true, 0>(taps, above[i][lane], &group, &window);
    } else {
      WalkFrom<false, 0>(taps, above[i][lane], &group, &window);
    }
    group.from = 0;
    left -= kGroup;
    group.a += kGroup * width;
    group.c += kGroup * width;
  }
}

// The sums of all levels when `seen` positions are there; with kState those
// that changed in the chunk are cached.
template <bool kState>
__device__ float SumLevels(const History& history, int64_t seen) {
  const HierarchicalConvolution& op = history.op;
  float above = 0;
#pragma unroll 2
  for (int level = op.levels; level >= 1; --level) {
    above = SumOf<kHalf>(history, level, seen) + above;
    if (kState && seen >> level != history.chunk.position >> level) {
      history.State()[SumRow(op, level) * op.width] = above;
    }
  }
  return above;
}

// A warp's share of what the runs leave: a position before the first group or
// the cached sums, and rows of the rings.
__device__ void FinishChunk(const History& history, int64_t first_group,
                            int warp) {
  const int64_t position = history.chunk.position + warp;
  if (warp == kGroup - 1) {
    SumLevels<true>(history, history.end());
  } else if (position < min(first_group * kGroup - 1, history.end())) {
    Emit(history, position,
         SumNearOf<kGroup>(history, position) +
             SumLevels<false>(history, position + 1));
  }
  WriteRings(history, warp, kGroup);
}

// Blocks along z: kFinishBlocks, then the runs.
__global__ void __launch_bounds__(kWarps* kLanes, kBlocksAtOnce)
    WalkRuns(const __grid_constant__ HierarchicalConvolution op,
             const Chunk* chunks, int run_groups, float* scratch) {
  __shared__ float above[kWarps][kMostGroups][kLanes];
  __shared__ LevelRows levels;
  LetLaterStart();
  const int index = static_cast<int>(blockIdx.y);
  const Chunk chunk = chunks[index];
  levels.Fill(op, chunk);
  __syncthreads();
  const int warp = static_cast<int>(threadIdx.x) / kLanes;
  const int channel = static_cast<int>(blockIdx.x) * kLanes +
                      static_cast<int>(threadIdx.x) % kLanes;
  const History history(op, chunk, levels, scratch, index, channel);
  const int block = static_cast<int>(blockIdx.z);
  if (channel >= op.width) {
    WaitForEarlier();
    return;
  }
  const int64_t first_group = FirstGroup(chunk);
  if (block < kFinishBlocks) {
    WaitForEarlier();
    FinishChunk(history, first_group, block * kWarps + warp);
    return;
  }
  const Taps taps(op, channel);
  WaitForEarlier();
  const int64_t group =
      first_group +
      int64_t{(block - kFinishBlocks) * kWarps + warp} * run_groups;
  // Of the last, the output when all is seen.
  const int64_t stop = history.end() / kGroup + 1;
  if (group >= stop) return;
  WalkRun(history, taps, group,
          static_cast<int>(min(stop - group, int64_t{run_groups})),
          above[warp]);
}

}  // namespace

cudaError_t LaunchRuns(const HierarchicalConvolution& op,
                       const ChunkList& chunks, int processors, bool overlap,
                       float* history, cudaStream_t stream) {
  const unsigned columns = Blocks(op.width, kLanes);
  int64_t groups = 1;
  for (int32_t i = 0; i < chunks.count; ++i) {
    const Chunk& chunk = chunks.host[i];
    groups = std::max(
        groups, (chunk.position + chunk.rows) / kGroup + 1 - FirstGroup(chunk));
  }
  // The past is read again at the start of a run, so runs are as long as all
  // multiprocessors have some.
  const int64_t room = int64_t{kBlocksAtOnce} * processors;
  int run_groups = 1;
  unsigned run_blocks = Blocks(groups, kWarps);
  while (run_groups < kMostGroups &&
         int64_t{columns} * chunks.count * (run_blocks + kFinishBlocks) >
             room) {
    ++run_groups;
    run_blocks = Blocks(groups, int64_t{run_groups} * kWarps);
  }
  LaunchShape shape;
  shape.stream = stream;
  shape.overlap = overlap;
  shape.block = dim3(kWarps * kLanes);
  shape.grid = dim3(columns, static_cast<unsigned>(chunks.count),
                    kFinishBlocks + run_blocks);
  return Launch(shape, WalkRuns, op, chunks.chunks, run_groups, history);
}

}  // namespace chela::cuda
