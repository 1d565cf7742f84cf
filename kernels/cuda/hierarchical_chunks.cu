// Chunks of the hierarchical convolution: the sums of convolution_decode.cu in
// the same order, so a row has the bits that it has token by token. With p the
// chunk's first position:
//
//   1. BlocksOfSpans: the means of every block inside a span of 64 positions;
//   2. OtherBlocks: what the state's rings hold, the blocks that began before
//      the chunk and those wider than a span;
//   3. WalkTiles: the outputs of 32 positions a warp, and the state.
//
// Floor: input, output and state, 8 bytes a token and channel; the history adds
// as much again, which stays in the second-level cache for chunks of a step.
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/convolution_sums.cuh"
#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/hierarchical_history.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr int kLanes = 32;
constexpr int kMaxLevels = 40;    // as Validate allows
constexpr int kTile = 32;         // positions of a warp
constexpr int kTileWarps = 4;     // of a block
constexpr int kInRegisters = 16;  // base length whose inputs a warp keeps

// A level's sum when `seen` positions are there.
__device__ float SumOf(const History& history, int64_t first, int level,
                       int64_t seen) {
  const HierarchicalConvolution& op = history.op;
  const int half = history.half();
  const int64_t newest = (seen >> level) - half;
  if (newest < 0) return 0.0f;
  const float* const taps =
      op.taps + int64_t{level - 1} * half * op.width + history.channel;
  const float* const blocks = &history.Block(first, level, newest);
  float sum = taps[0] * blocks[0];
  if (half == kInRegisters / 2) {
    float tap[kInRegisters / 2];
    float block[kInRegisters / 2];
#pragma unroll
    for (int m = 1; m < kInRegisters / 2; ++m) {
      tap[m] = taps[int64_t{m} * op.width];
      block[m] = blocks[-int64_t{m} * op.width];  // 0 before the start
    }
#pragma unroll
    for (int m = 1; m < kInRegisters / 2; ++m) {
      sum = fmaf(tap[m], block[m], sum);
    }
    return sum;
  }
  for (int m = 1; m < half; ++m) {
    sum =
        fmaf(taps[int64_t{m} * op.width], blocks[-int64_t{m} * op.width], sum);
  }
  return sum;
}

// What a warp keeps of its tile: each level's sum with all coarser ones, and
// where the levels stand in the history.
struct TileSums {
  float above[kMaxLevels + 2][kLanes];
  int64_t first[kMaxLevels + 1];
};

// The levels that change at `seen` positions, from the coarsest down.
__device__ void Advance(const History& history, int changed, int64_t seen,
                        TileSums* sums) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  float above = sums->above[changed + 1][lane];
  for (int level = changed; level >= 1; --level) {
    above = SumOf(history, sums->first[level], level, seen) + above;
    sums->above[level][lane] = above;
  }
}

// Level 0 without lag 0: by lag mod 8, then those in order.
__device__ float SumNearOf(const History& history, int64_t position) {
  const HierarchicalConvolution& op = history.op;
  float near[kResidues] = {};
  for (int m = 0; m < op.base_length; m += kResidues) {
#pragma unroll
    for (int residue = 0; residue < kResidues; ++residue) {
      const int lag = m + residue;
      if (lag == 0 || lag >= op.base_length || lag > position) continue;
      near[residue] = fmaf(op.taps0[int64_t{lag} * op.width + history.channel],
                           history.Input(position - lag), near[residue]);
    }
  }
  float sum = 0;
#pragma unroll
  for (int residue = 0; residue < kResidues; ++residue) sum += near[residue];
  return sum;
}

// The inputs and taps of level 0, in registers.
struct NearInputs {
  float taps[kInRegisters];
  float inputs[kInRegisters];  // at position mod kInRegisters

  __device__ NearInputs(const History& history, int64_t position) {
    const int now = static_cast<int>(position % kInRegisters);
#pragma unroll
    for (int i = 0; i < kInRegisters; ++i) {
      taps[i] =
          history.op.taps0[int64_t{i} * history.op.width + history.channel];
      inputs[i] =
          history.Input(position - now + i - (i < now ? 0 : kInRegisters));
    }
  }
  // `now`: position mod kInRegisters, known to the compiler.
  __device__ __forceinline__ float Sum(int now) const {
    float sum = 0;
#pragma unroll
    for (int residue = 0; residue < kResidues; ++residue) {
      float near = 0;
#pragma unroll
      for (int lag = residue; lag < kInRegisters; lag += kResidues) {
        if (lag == 0) continue;
        near = fmaf(taps[lag],
                    inputs[(now - lag + kInRegisters) % kInRegisters], near);
      }
      sum += near;
    }
    return sum;
  }
};

// The state after a chunk but for the sums: every warp a share of the rows.
__device__ void WriteRings(const History& history, int warp, int warps) {
  const HierarchicalConvolution& op = history.op;
  float* const state = history.State();
  const int length = op.base_length;
  const int ring = length / 2 + 1;
  const int64_t end = history.end();
  for (int64_t position = max(history.chunk.position, end - length) + warp;
       position < end; position += warps) {
    state[int64_t{Mod(position, length)} * op.width] = history.Input(position);
  }
  int64_t first = length;
  for (int level = 1; level <= op.levels; ++level) {
    const int64_t newest = history.Newest(level);
    int64_t from = max(history.Before(level) + 1, newest - ring + 1);
    if (from < 0) from = 0;
    for (int64_t block = from + warp; block <= newest; block += warps) {
      state[(history.RingOf(level) + Mod(block, ring)) * op.width] =
          history.Block(first, level, block);
    }
    first = history.After(first, level);
  }
}

// A warp owns 32 channels of one tile of positions on the absolute grid; the
// blocks past a chunk's last tile write its rings.
template <bool kSixteen>
__global__ void __launch_bounds__(kTileWarps* kLanes)
    WalkTiles(const __grid_constant__ HierarchicalConvolution op,
              const Chunk* chunks, float* scratch) {
  __shared__ TileSums all_sums[kTileWarps];
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int warp = static_cast<int>(threadIdx.x) / kLanes;
  const int channel = static_cast<int>(blockIdx.x) * kLanes + lane;
  if (channel >= op.width) return;
  const History history(op, chunk, scratch, static_cast<int>(blockIdx.y),
                        channel);
  const int64_t end = history.end();
  if (blockIdx.z == gridDim.z - 1) {
    WriteRings(history, warp, kTileWarps);
    return;
  }
  const int64_t tile =
      (chunk.position / kTile + int64_t{blockIdx.z} * kTileWarps + warp) *
      kTile;
  if (tile >= end) return;
  const int64_t begin = max(tile, chunk.position);
  const int64_t stop = min(tile + kTile, end);
  TileSums* const sums = &all_sums[warp];
  int64_t first = op.base_length;
  for (int level = 1; level <= op.levels; ++level) {
    sums->first[level] = first;
    first = history.After(first, level);
  }
  sums->above[op.levels + 1][lane] = 0;
  Advance(history, op.levels, begin + 1, sums);
  const float tap = op.taps0[channel];
  const float skip = op.skip[channel];
  float above = sums->above[1][lane];
  const auto finish = [&](int64_t position, float a, float near) {
    if (position > begin) {
      const int changed = min(__ffsll(position + 1) - 1, op.levels);
      if (changed > 0) {
        Advance(history, changed, position + 1, sums);
        above = sums->above[1][lane];
      }
    }
    float c = near + above;
    c = fmaf(tap, a, c);
    c = fmaf(skip, a, c);
    op.c[(chunk.first_row + position - chunk.position) * op.width + channel] =
        c;
  };
  if constexpr (kSixteen) {
    NearInputs near(history, begin);
    for (int64_t base = tile; base < stop; base += kInRegisters) {
#pragma unroll
      for (int now = 0; now < kInRegisters; ++now) {
        const int64_t position = base + now;
        if (position < begin || position >= stop) continue;
        const float a = history.Input(position);
        near.inputs[now] = a;
        finish(position, a, near.Sum(now));
      }
    }
  } else {
    for (int64_t position = begin; position < stop; ++position) {
      finish(position, history.Input(position), SumNearOf(history, position));
    }
  }
  if (stop < end) return;
  const int64_t rows =
      op.base_length + int64_t{op.levels} * (op.base_length / 2 + 1);
  for (int level = 1; level <= op.levels; ++level) {
    if (end >> level == chunk.position >> level) break;  // none changed
    history.State()[(rows + level - 1) * op.width] = sums->above[level][lane];
  }
}

}  // namespace

cudaError_t LaunchChunks(const HierarchicalConvolution& op,
                         const ChunkList& chunks, float* history,
                         cudaStream_t stream) {
  const cudaError_t error = LaunchHistory(op, chunks, history, stream);
  if (error != cudaSuccess) return error;
  LaunchShape shape;
  shape.stream = stream;
  shape.block = dim3(kTileWarps * kLanes);
  // A chunk lies in one more tile than it could fill.
  shape.grid =
      dim3(Blocks(op.width, kLanes), static_cast<unsigned>(chunks.count),
           Blocks(Blocks(chunks.longest, kTile) + 1, kTileWarps) + 1);
  return op.base_length == kInRegisters
             ? Launch(shape, WalkTiles<true>, op, chunks.chunks, history)
             : Launch(shape, WalkTiles<false>, op, chunks.chunks, history);
}

}  // namespace chela::cuda
