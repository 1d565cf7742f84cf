// Chunks of the hierarchical convolution, base length 16, in one pass: input,
// output and state move once. A block per multiprocessor takes 8 channels of a
// chunk at a time and walks them from tile to tile (hierarchical_tile.cuh), the
// next tile's inputs on their way meanwhile:
//
//   1. the blocks of all levels that end in the tile;
//   2. the coarse levels' sums;
//   3. each thread 32 positions of a channel, with levels 0 to 3 in registers;
//
// and carries the last 16 inputs and blocks of each level to the next tile.
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/hierarchical_stream.h"
#include "kernels/cuda/hierarchical_tile.cuh"
#include "kernels/cuda/hierarchical_tile_blocks.cuh"
#include "kernels/cuda/hierarchical_tile_state.cuh"
#include "kernels/cuda/hierarchical_tile_walk.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr int kPlaces = 3;  // the tile of now, the next and the one after it
constexpr int kMostChunks = 64;  // of a launch

struct Work {
  Chunk chunks[kMostChunks];
  int32_t groups;  // of channels
  int32_t items;   // a chunk's groups, then the next one's
  bool fours;      // of channels can be moved at once
};

__device__ __forceinline__ Place FirstPlace(const Work& work, int item,
                                            int taps) {
  if (item >= work.items) return {};
  const Chunk& chunk = work.chunks[item / work.groups];
  return {.begin = chunk.position / kTileGrid * kTileGrid,
          .position = chunk.position,
          .slot = chunk.slot,
          .first_row = chunk.first_row,
          .rows = chunk.rows,
          .item = item,
          .channel = item % work.groups * kTileChannels,
          .taps = taps,
          .exists = true};
}
__device__ __forceinline__ Place NextPlace(const Work& work,
                                           const Place& place) {
  if (!place.exists) return place;
  if (place.last()) {
    return FirstPlace(work, place.item + static_cast<int>(gridDim.x),
                      1 - place.taps);
  }
  Place next = place;
  next.begin += kTilePositions;
  return next;
}

// What the outputs of a tile need.
__device__ __forceinline__ void MakeTile(const HierarchicalConvolution& op,
                                         const Place place,
                                         const TileMemory& memory, int buffer) {
  const int lane = static_cast<int>(threadIdx.x) % kTileLanes;
  const bool last_warp = threadIdx.x >= kTileThreads - kTileLanes;
  const bool resumed = place.first() && place.position > 0;
  float rings[kMoves];
  if (resumed) LoadRings(op, place, rings);
  MakeMeans(place, memory, buffer);
  __syncthreads();
  if (resumed) {
    StoreRings(op, place, memory, buffer, rings);
    __syncthreads();
  }
  if (last_warp) {
    MakeWide(memory, lane);
    if (resumed) MakePast(place, memory, buffer, lane);
    MakeWidest(place, memory, buffer, lane);
    __syncwarp();
  }
  if (resumed) __syncthreads();
  const float* const taps = memory.Taps(place.taps);
  // The last warp's are those of the levels that it made.
  SumCoarse(place, memory, taps);
  if (place.last()) SumEnd(place, memory, taps, last_warp);
  __syncthreads();
}

size_t TileBytes(const HierarchicalConvolution& op) {
  return static_cast<size_t>(TileMemory::Floats(op.levels)) * sizeof(float);
}

// Asks for a tile's inputs, if there is one.
__device__ __forceinline__ void FetchTile(const HierarchicalConvolution& op,
                                          const Work& work, const Place& place,
                                          const TileMemory& memory,
                                          int buffer) {
  if (work.fours) {
    TileFetch<4>(op, place, memory, buffer).AskForAll();
  } else {
    TileFetch<1>(op, place, memory, buffer).AskForAll();
  }
}

__global__ void __launch_bounds__(kTileThreads, 1)
    StreamTiles(const __grid_constant__ HierarchicalConvolution op,
                const __grid_constant__ Work work) {
  extern __shared__ float rows[];
  __shared__ Place places[kPlaces];
  LetLaterStart();
  const TileMemory memory{rows, op.levels};
  if (threadIdx.x == 0) {
    places[0] = FirstPlace(work, static_cast<int>(blockIdx.x), 0);
    places[1] = NextPlace(work, places[0]);
  }
  __syncthreads();
  FetchTaps(op, places[0], memory.Taps(0));
  WaitForEarlier();
  FetchTile(op, work, places[0], memory, 0);
  CommitFloats();
  FetchTile(op, work, places[1], memory, 1);
  for (int i = static_cast<int>(threadIdx.x);
       i < memory.Taps(0) - memory.AllSums(); i += kTileThreads) {
    memory.AllSums()[i] = 0;
  }
  Taps taps;
  float tail[kMoves] = {};
  for (int step = 0; places[step % kPlaces].exists; ++step) {
    const Place& place = places[step % kPlaces];
    const Place& next = places[(step + 1) % kPlaces];
    const int buffer = step % 2;
    CommitFloats();
    if (step == 0) {
      WaitForFloats<1>();  // the second tile's are on their way too
    } else {
      WaitForFloats<0>();
    }
    __syncthreads();
    // Through the time in which the tile is made and walked.
    if (next.exists && next.first()) {
      FetchTaps(op, next, memory.Taps(next.taps));
    }
    if (place.first()) taps = TileTaps(memory.Taps(place.taps));
    // `tail` is 0 where a chunk begins: its own past overwrites that.
    StoreTail(memory, buffer, tail);
    MakeTile(op, place, memory, buffer);
    if (threadIdx.x == 0) {
      places[(step + 2) % kPlaces] = NextPlace(work, next);
    }
    if (place.last()) {
      KeepRings(op, place, memory, buffer);
      FinishChunk(op, place, memory, taps, buffer);
    }
    if (step > 0) FetchTile(op, work, next, memory, 1 - buffer);
    WalkTile(op, place, memory, taps, buffer);
#pragma unroll
    for (int i = 0; i < kMoves; ++i) tail[i] = 0;
    if (!place.last()) LoadTail(place, memory, buffer, tail);
  }
}

}  // namespace

bool Streams(const HierarchicalConvolution& op, const ChunkList& chunks,
             int processors) {
  if (op.base_length != kRunBase || op.levels < kRunLevels ||
      op.levels > kMostTileLevels) {
    return false;
  }
  int device = 0;
  int most = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin,
                             device) != cudaSuccess ||
      TileBytes(op) + sizeof(Place) * kPlaces > static_cast<size_t>(most)) {
    return false;
  }
  // A tile takes as long with few positions of the chunk: many short chunks
  // leave most of it idle, unless all blocks run at once.
  int64_t tiles = 0;
  int64_t rows = 0;
  for (int32_t i = 0; i < chunks.count; ++i) {
    const Chunk& chunk = chunks.host[i];
    tiles += Blocks(chunk.position % kTileGrid + chunk.rows, kTilePositions);
    rows += chunk.rows;
  }
  return int64_t{Blocks(op.width, kTileChannels)} * chunks.count <=
             processors ||
         2 * rows >= tiles * kTilePositions;
}

cudaError_t LaunchStream(const HierarchicalConvolution& op,
                         const ChunkList& chunks, int processors, bool overlap,
                         cudaStream_t stream) {
  Work work;
  work.fours = op.width % 4 == 0 && reinterpret_cast<uintptr_t>(op.a) % 16 == 0;
  work.groups = static_cast<int32_t>(Blocks(op.width, kTileChannels));
  LaunchShape shape;
  shape.stream = stream;
  shape.overlap = overlap;
  shape.block = dim3(kTileThreads);
  shape.shared_bytes = TileBytes(op);
  for (int32_t first = 0; first < chunks.count; first += kMostChunks) {
    const int32_t count = std::min(chunks.count - first, kMostChunks);
    std::copy_n(chunks.host + first, count, work.chunks);
    work.items = work.groups * count;
    shape.grid = dim3(static_cast<unsigned>(std::min(work.items, processors)));
    const cudaError_t error = Launch(shape, StreamTiles, op, work);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace chela::cuda
