// Chunks of the hierarchical convolution: the sums of convolution_decode.cu in
// the same order, so a row has the bits that it has token by token. Most are
// streamed (hierarchical_stream.cu). For the others, with p the chunk's first
// position:
//
//   1. MakeHistory: what the state's rings hold, and the means of every block
//      inside a span of 512 positions;
//   2. MakeLateBlocks, where there are such: the blocks that began before the
//      chunk, and those wider than a span;
//   3. WalkRuns (hierarchical_runs.cu), or for other base lengths WalkTiles:
//      the outputs and the state.
//
// There the input is read twice and the history, a quarter of it, written and
// read; the second-level cache keeps both for a few thousand tokens.
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/hierarchical_runs.h"
#include "kernels/cuda/hierarchical_stream.h"
#include "kernels/cuda/hierarchical_sums.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr int kLanes = 32;
constexpr int kTile = 32;      // positions of a warp
constexpr int kTileWarps = 4;  // of a block

// What a warp keeps of its tile: each level's sum with all coarser ones.
struct TileSums {
  float above[kMaxLevels + 2][kLanes];
};

// The levels that change at `seen` positions, from the coarsest down.
__device__ void Advance(const History& history, int changed, int64_t seen,
                        TileSums* sums) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  float above = sums->above[changed + 1][lane];
  for (int level = changed; level >= 1; --level) {
    above = SumOf<0>(history, level, seen) + above;
    sums->above[level][lane] = above;
  }
}

// A warp owns 32 channels of one tile of positions on the absolute grid; the
// blocks past a chunk's last tile write its rings.
__global__ void __launch_bounds__(kTileWarps* kLanes)
    WalkTiles(const __grid_constant__ HierarchicalConvolution op,
              const Chunk* chunks, float* scratch) {
  __shared__ TileSums all_sums[kTileWarps];
  __shared__ LevelRows levels;
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int warp = static_cast<int>(threadIdx.x) / kLanes;
  const int channel = static_cast<int>(blockIdx.x) * kLanes + lane;
  levels.Fill(op, chunk);
  __syncthreads();
  if (channel >= op.width) return;
  const History history(op, chunk, levels, scratch,
                        static_cast<int>(blockIdx.y), channel);
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
  sums->above[op.levels + 1][lane] = 0;
  Advance(history, op.levels, begin + 1, sums);
  for (int64_t position = begin; position < stop; ++position) {
    if (position > begin) {
      const int changed = min(__ffsll(position + 1) - 1, op.levels);
      if (changed > 0) Advance(history, changed, position + 1, sums);
    }
    Emit(history, position,
         SumNearOf<0>(history, position) + sums->above[1][lane]);
  }
  if (stop < end) return;
  for (int level = 1; level <= op.levels; ++level) {
    if (end >> level == chunk.position >> level) break;  // none changed
    history.State()[SumRow(op, level) * op.width] = sums->above[level][lane];
  }
}

cudaError_t LaunchTiles(const HierarchicalConvolution& op,
                        const ChunkList& chunks, float* history,
                        cudaStream_t stream) {
  LaunchShape shape;
  shape.stream = stream;
  shape.block = dim3(kTileWarps * kLanes);
  // A chunk lies in one more tile than it could fill.
  shape.grid =
      dim3(Blocks(op.width, kLanes), static_cast<unsigned>(chunks.count),
           Blocks(Blocks(chunks.longest, kTile) + 1, kTileWarps) + 1);
  return Launch(shape, WalkTiles, op, chunks.chunks, history);
}

}  // namespace

cudaError_t LaunchChunks(const HierarchicalConvolution& op,
                         const ChunkList& chunks, float* history,
                         int processors, bool overlap, cudaStream_t stream) {
  if (Streams(op, chunks, processors)) {
    return LaunchStream(op, chunks, processors, overlap, stream);
  }
  const cudaError_t error = LaunchHistory(op, chunks, overlap, history, stream);
  if (error != cudaSuccess) return error;
  return op.base_length == kRunBase
             ? LaunchRuns(op, chunks, processors, overlap, history, stream)
             : LaunchTiles(op, chunks, history, stream);
}

}  // namespace chela::cuda
