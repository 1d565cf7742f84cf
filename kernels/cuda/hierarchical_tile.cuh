// A tile of a chunk of the hierarchical convolution in a block's shared memory:
// kTileChannels channels of kTilePositions positions from a multiple of
// kTileGrid on. Inputs stand as they came, a row a position. A row of blocks or
// sums is one channel's, so that a thread moves four neighbours in time at
// once; such rows are an odd number of fours apart, which spreads eight
// channels over the banks.
#ifndef CHELA_KERNELS_CUDA_HIERARCHICAL_TILE_CUH_
#define CHELA_KERNELS_CUDA_HIERARCHICAL_TILE_CUH_

#include <cstdint>

#include "kernels/cuda/hierarchical_history.cuh"
#include "kernels/cuda/step_rows.h"
#include "kernels/long_convolution.h"

namespace chela::cuda {

inline constexpr int kTileChannels = 8;  // 32 bytes of a row, a sector
inline constexpr int kTilePositions = 2048;
inline constexpr int kTileRunLevels = 5;
inline constexpr int kTileRun = 1 << kTileRunLevels;  // positions of a thread
inline constexpr int kTileThreads = kTileChannels * (kTilePositions / kTileRun);
// Blocks of levels up to 9 do not cross tiles.
inline constexpr int kGridLevels = 9;
inline constexpr int kTileGrid = 1 << kGridLevels;
// Levels above those that a thread walks in registers change with its first
// position of 16 only; their sums are made apart.
inline constexpr int kFirstCoarse = kRunLevels + 1;
inline constexpr int kMostTileLevels = 14;
inline constexpr int kHalo = kRunBase;  // blocks (inputs) before the tile
// Inputs stand as they do in memory, eight channels a row, with a row of
// padding after every run and the halo.
inline constexpr int kInputRows =
    kHalo + kTilePositions + kTilePositions / kTileRun + 1;
inline constexpr int kInputFloats = kInputRows * kTileChannels;
// Rows of taps in shared memory: those of level 0, the skip, the levels'.
inline constexpr int kSkipRow = kRunBase;
inline constexpr int kLevelTaps = kRunBase + 1;

// Where a tile is.
struct Place {
  int64_t begin;     // of the tile, a multiple of kTileGrid
  int64_t position;  // of the chunk, as the next three
  int32_t slot;
  int32_t first_row;
  int32_t rows;
  int32_t item;     // chunk and channels
  int32_t channel;  // the first
  int32_t taps;     // where they are: of two items in turn
  bool exists;

  __device__ int64_t end() const { return position + rows; }
  __device__ bool first() const { return begin <= position; }
  __device__ bool last() const { return end() <= begin + kTilePositions; }
  // Of a level: the tile's first block.
  __device__ int64_t FirstBlock(int level) const { return begin >> level; }
};

struct TileMemory {
  float* data;
  int levels;

  static __host__ __device__ int BlockRows(int level) {  // of finer levels
    return kTilePositions - (kTilePositions >> (level - 1)) + 20 * (level - 1);
  }
  static __host__ __device__ int SumRows(int level) {
    return (kTilePositions >> kRunLevels) - (kTilePositions >> (level - 1)) +
           4 * (level - kFirstCoarse);
  }
  static __host__ __device__ int TapRows(int levels) {
    return kLevelTaps + levels * (kRunBase / 2);
  }
  static __host__ __device__ int Floats(int levels) {
    return kTileChannels *
           (2 * kInputRows + BlockRows(Kept(levels) + 1) +
            SumRows(Kept(levels) + 1) + 2 * TapRows(levels) + levels);
  }
  // A tile has all levels up to that of the grid, whatever the kernel has.
  static __host__ __device__ int Kept(int levels) {
    return levels > kGridLevels ? levels : kGridLevels;
  }

  // The input of a position of the tile, from -kHalo on.
  __device__ float* Input(int buffer, int position, int channel) const {
    const int row = kHalo + 1 + position + (position >> kTileRunLevels);
    return data + buffer * kInputFloats + row * kTileChannels + channel;
  }
  // Block kHalo is the tile's first; behind the last is room for those that
  // only end behind the tile.
  __device__ float* Blocks(int level, int channel) const {
    return data + kTileChannels * (2 * kInputRows + BlockRows(level)) +
           channel * ((kTilePositions >> level) + 20);
  }
  // A block of a level, or with level 0 an input, counted from the tile's
  // first.
  __device__ float* At(int buffer, int level, int index, int channel) const {
    return level == 0 ? Input(buffer, index, channel)
                      : Blocks(level, channel) + kHalo + index;
  }
  // A level's own sums when as many of its blocks were seen as at the tile's
  // begin, one more .. ; 0 for levels that the kernel has not.
  __device__ float* Sums(int level, int channel) const {
    return AllSums() + kTileChannels * SumRows(level) +
           channel * ((kTilePositions >> level) + 4);
  }
  __device__ float* AllSums() const {
    return data +
           kTileChannels * (2 * kInputRows + BlockRows(Kept(levels) + 1));
  }
  // [TapRows][kTileChannels]
  __device__ float* Taps(int buffer) const {
    return AllSums() + kTileChannels * (SumRows(Kept(levels) + 1) +
                                        buffer * TapRows(levels));
  }
  // [levels][kTileChannels]: each level's own sum behind the chunk.
  __device__ float* EndSums() const { return Taps(2); }
};

__device__ __forceinline__ void LoadFour(const float* from, float* to) {
  const float4 four = *reinterpret_cast<const float4*>(from);
  to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
}
__device__ __forceinline__ void StoreFour(const float* from, float* to) {
  *reinterpret_cast<float4*>(to) =
      make_float4(from[0], from[1], from[2], from[3]);
}

// A level's sum whose newest block stands at `newest`.
__device__ __forceinline__ float SumAt(const float* taps, const float* newest) {
  float sum = taps[0] * newest[0];
#pragma unroll
  for (int m = 1; m < kRunBase / 2; ++m) {
    sum = fmaf(taps[m * kTileChannels], newest[-m], sum);
  }
  return sum;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_HIERARCHICAL_TILE_CUH_
