// What a tile is made of before its outputs are: inputs, the blocks of all
// levels and the sums of the coarse ones.
#ifndef CHELA_KERNELS_CUDA_HIERARCHICAL_TILE_BLOCKS_CUH_
#define CHELA_KERNELS_CUDA_HIERARCHICAL_TILE_BLOCKS_CUH_

#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/hierarchical_tile.cuh"

namespace chela::cuda {

inline constexpr int kTileLanes = 32;
inline constexpr int kTileWarps = kTileThreads / kTileLanes;

// One float or four; seen after WaitForFloats. Blocks of the neighbouring
// channels ask for the rest of the 128 bytes soon.
template <int kFloats>
__device__ __forceinline__ void CopyFloats(const float* from, float* to) {
  const uint32_t shared = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  if constexpr (kFloats == 4) {
    asm volatile(
        "cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(shared),
        "l"(from));
  } else {
    asm volatile(
        "cp.async.ca.shared.global.L2::128B [%0], [%1], 4;" ::"r"(shared),
        "l"(from));
  }
}
__device__ __forceinline__ void CommitFloats() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void WaitForFloats() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Asks for the taps of a tile's channels.
__device__ __forceinline__ void FetchTaps(const HierarchicalConvolution& op,
                                          const Place& place, float* to) {
  const int channel =
      place.channel + static_cast<int>(threadIdx.x) % kTileChannels;
  if (channel >= op.width) return;
  const int rows = TileMemory::TapRows(op.levels);
  for (int row = static_cast<int>(threadIdx.x) / kTileChannels; row < rows;
       row += kTileThreads / kTileChannels) {
    const float* const from =
        row < kSkipRow    ? op.taps0 + int64_t{row} * op.width
        : row == kSkipRow ? op.skip
                          : op.taps + int64_t{row - kLevelTaps} * op.width;
    CopyFloats<1>(from + channel,
                  to + row * kTileChannels +
                      static_cast<int>(threadIdx.x) % kTileChannels);
  }
}

// Whether the chunk has any of a warp's positions in the tile.
inline constexpr int kWarpPositions = kTilePositions / kTileWarps;
__device__ __forceinline__ bool WarpHasAny(const Place& place) {
  const int64_t first =
      place.begin + static_cast<int>(threadIdx.x) / kTileLanes * kWarpPositions;
  return first < place.end() && first + kWarpPositions > place.position;
}

// What a thread asks for of a tile's inputs, kFloats of a row at once. A warp
// asks for those that it makes means of.
template <int kFloats>
struct TileFetch {
  static constexpr int kLanes = kTileChannels / kFloats;  // of a row
  static constexpr int kAtOnce = kTileLanes / kLanes;     // rows of a warp
  static constexpr int kCopies = kWarpPositions / kAtOnce;

  const float* from;
  float* to;
  int width;
  int row;       // of the chunk
  int rows = 0;  // the chunk's, or 0: nothing to ask for

  __device__ __forceinline__ TileFetch(const HierarchicalConvolution& op,
                                       const Place& place,
                                       const TileMemory& memory, int buffer) {
    const int lane = static_cast<int>(threadIdx.x) % kTileLanes;
    const int own = lane % kLanes * kFloats;
    const int first =
        static_cast<int>(threadIdx.x) / kTileLanes * kWarpPositions +
        lane / kLanes;
    width = op.width;
    row = static_cast<int>(place.begin - place.position) + first;
    if (place.exists && place.channel + own < op.width) rows = place.rows;
    from =
        op.a + (int64_t{place.first_row} + row) * width + place.channel + own;
    to = memory.Input(buffer, first, own);
  }
  __device__ __forceinline__ void Ask(int i) const {
    constexpr int kRowsOfRun = kTileRun + 1;
    const int ahead = i * kAtOnce;
    if (static_cast<unsigned>(row + ahead) >= static_cast<unsigned>(rows)) {
      return;
    }
    CopyFloats<kFloats>(
        from + int64_t{ahead} * width,
        to +
            (ahead / kTileRun * kRowsOfRun + ahead % kTileRun) * kTileChannels);
  }
  __device__ __forceinline__ void AskForAll() const {
    constexpr int kUnrolled = kFloats == 4 ? kCopies : 1;
#pragma unroll kUnrolled
    for (int i = 0; i < kCopies; ++i) Ask(i);
  }
};

// kCount means of neighbours, and where they are kept.
template <int kCount>
__device__ __forceinline__ void Halve(float* values, float* to) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    values[i] = Mean(values[2 * i], values[2 * i + 1]);
  }
  if constexpr (kCount >= 4) {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) StoreFour(values + i, to + i);
  } else if constexpr (kCount == 2) {
    *reinterpret_cast<float2*>(to) = make_float2(values[0], values[1]);
  } else {
    *to = values[0];
  }
}

// Levels 1 to 7 of a tile. Blocks that began before the chunk come out wrong:
// MakePast makes them after this.
__device__ __forceinline__ void MakeMeans(const Place& place,
                                          const TileMemory& memory,
                                          int buffer) {
  if (!WarpHasAny(place)) return;
  const int own = static_cast<int>(threadIdx.x) % kTileChannels;
  const int run = static_cast<int>(threadIdx.x) / kTileChannels;
  float values[kTileRun];
  const float* const from = memory.Input(buffer, run * kTileRun, own);
#pragma unroll
  for (int i = 0; i < kTileRun; ++i) values[i] = from[i * kTileChannels];
  Halve<16>(values, memory.Blocks(1, own) + kHalo + run * 16);
  Halve<8>(values, memory.Blocks(2, own) + kHalo + run * 8);
  Halve<4>(values, memory.Blocks(3, own) + kHalo + run * 4);
  Halve<2>(values, memory.Blocks(4, own) + kHalo + run * 2);
  Halve<1>(values, memory.Blocks(5, own) + kHalo + run);
  const float six =
      Mean(values[0], __shfl_down_sync(kWholeWarp, values[0], kTileChannels));
  const float seven =
      Mean(six, __shfl_down_sync(kWholeWarp, six, 2 * kTileChannels));
  if (run % 2 == 0) memory.Blocks(6, own)[kHalo + run / 2] = six;
  if (run % 4 == 0) memory.Blocks(7, own)[kHalo + run / 4] = seven;
}

// A block of a level from its halves.
__device__ __forceinline__ void MakeBlock(const Place& place,
                                          const TileMemory& memory, int buffer,
                                          int channel, int level,
                                          int64_t block) {
  const int half = static_cast<int>(2 * block - place.FirstBlock(level - 1));
  const int index = static_cast<int>(block - place.FirstBlock(level));
  *memory.At(buffer, level, index, channel) =
      Mean(*memory.At(buffer, level - 1, half, channel),
           *memory.At(buffer, level - 1, half + 1, channel));
}

// Levels 8 and 9 of a tile, by one warp.
__device__ __forceinline__ void MakeWide(const TileMemory& memory, int lane) {
  const int own = lane % kTileChannels;
  const int span = lane / kTileChannels;
  float values[4];
  LoadFour(memory.Blocks(7, own) + kHalo + 4 * span, values);
  Halve<2>(values, memory.Blocks(8, own) + kHalo + 2 * span);
  Halve<1>(values, memory.Blocks(9, own) + kHalo + span);
  __syncwarp();
}

// The blocks before the chunk that are in no ring yet, and those that began
// before it: each level of the one below, by one warp.
__device__ __forceinline__ void MakePast(const Place& place,
                                         const TileMemory& memory, int buffer,
                                         int lane) {
  for (int level = 1; level <= memory.levels; ++level) {
    const int64_t at = place.position >> level;
    for (int i = lane / kTileChannels; i < kRunBase / 2;
         i += kTileLanes / kTileChannels) {
      MakeBlock(place, memory, buffer, lane % kTileChannels, level, at - i);
    }
    __syncwarp();
  }
}

// The blocks wider than the grid that end in the tile, by one warp.
__device__ __forceinline__ void MakeWidest(const Place& place,
                                           const TileMemory& memory, int buffer,
                                           int lane) {
  if (lane >= kTileChannels) return;
  for (int level = kGridLevels + 1; level <= memory.levels; ++level) {
    const int64_t stop = (place.begin + kTilePositions) >> level;
    for (int64_t block = place.FirstBlock(level); block < stop; ++block) {
      MakeBlock(place, memory, buffer, lane, level, block);
    }
  }
}

// Four sums of a level one after the other.
__device__ __forceinline__ void SumFour(const TileMemory& memory,
                                        const float* taps, int level,
                                        int channel, int first) {
  float blocks[12];
  const float* const from = memory.Blocks(level, channel) + first;
#pragma unroll
  for (int i = 0; i < 12; i += 4) LoadFour(from + i, blocks + i);
  float sums[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) sums[i] = taps[0] * blocks[i + kRunBase / 2];
#pragma unroll
  for (int m = 1; m < kRunBase / 2; ++m) {
    const float tap = taps[m * kTileChannels];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sums[i] = fmaf(tap, blocks[i + kRunBase / 2 - m], sums[i]);
    }
  }
  StoreFour(sums, memory.Sums(level, channel) + first);
}

__device__ __forceinline__ const float* LevelTaps(const float* taps, int level,
                                                  int channel) {
  return taps + (kLevelTaps + (level - 1) * (kRunBase / 2)) * kTileChannels +
         channel;
}

// The own sums of the coarse levels: of level 4 in half of the block, of level
// 5 in half of what is left .. ; the widest levels' by its last threads.
__device__ __forceinline__ void SumCoarse(const Place& place,
                                          const TileMemory& memory,
                                          const float* taps) {
  const int own = static_cast<int>(threadIdx.x) % kTileChannels;
  constexpr int kAll = kTileThreads / kTileChannels;  // 64
  const int left = kAll - static_cast<int>(threadIdx.x) / kTileChannels;
  if (left > 1) {
    // 64 .. 33 are level 4, 32 .. 17 level 5, .. 2 is level 9.
    const int level = __clz(left - 1) - (31 - 5) + kFirstCoarse;
    if (level > memory.levels) return;
    const int count = kTilePositions / 4 >> level;  // fours of the level
    const int first = 4 * (2 * count - left);
    if (first > (place.end() >> level) - place.FirstBlock(level)) return;
    SumFour(memory, LevelTaps(taps, level, own), level, own, first);
    return;
  }
  for (int level = kGridLevels + 1; level <= memory.levels; ++level) {
    const int64_t first = place.FirstBlock(level);
    const int count =
        static_cast<int>(((place.begin + kTilePositions - 1) >> level) -
                         first) +
        1;
    for (int i = 0; i < count; ++i) {
      memory.Sums(level, own)[i] =
          SumAt(LevelTaps(taps, level, own),
                memory.Blocks(level, own) + kRunBase / 2 + i);
    }
  }
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_HIERARCHICAL_TILE_BLOCKS_CUH_
