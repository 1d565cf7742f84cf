// What a tile takes from before it and leaves behind: its halo, which is the
// last inputs and blocks of the tile before or what the state holds, and the
// state.
#ifndef CHELA_KERNELS_CUDA_HIERARCHICAL_TILE_STATE_CUH_
#define CHELA_KERNELS_CUDA_HIERARCHICAL_TILE_STATE_CUH_

#include "kernels/cuda/hierarchical_sums.cuh"
#include "kernels/cuda/hierarchical_tile.cuh"
#include "kernels/cuda/hierarchical_tile_blocks.cuh"
#include "kernels/cuda/hierarchical_tile_walk.cuh"

namespace chela::cuda {

// Rows of the halo and of the rings, which a thread moves so many of.
inline constexpr int kMoves = 4;
inline constexpr int kMoveRows = kTileThreads / kTileChannels;  // at once
static_assert((kMostTileLevels + 1) * kHalo <= kMoves * kMoveRows &&
              kRunBase + kMostTileLevels * (kRunBase / 2 + 1) <=
                  kMoves * kMoveRows);

// Rows of the halo, by thread: inputs, then each level's blocks, 16 of each.
struct HaloRow {
  int level;
  int index;

  __device__ HaloRow(int move)
      : level(
            (static_cast<int>(threadIdx.x) / kTileChannels + move * kMoveRows) /
            kHalo),
        index(static_cast<int>(threadIdx.x) / kTileChannels % kHalo - kHalo) {}
};

// The last inputs and blocks of a tile, for the next one.
__device__ __forceinline__ void LoadTail(const Place& place,
                                         const TileMemory& memory, int buffer,
                                         float* tail) {
  const int own = static_cast<int>(threadIdx.x) % kTileChannels;
#pragma unroll
  for (int i = 0; i < kMoves; ++i) {
    const HaloRow row(i);
    if (row.level > memory.levels) continue;
    const int ended =
        static_cast<int>(((place.begin + kTilePositions) >> row.level) -
                         place.FirstBlock(row.level));
    tail[i] = *memory.At(buffer, row.level, row.index + ended, own);
  }
}
__device__ __forceinline__ void StoreTail(const TileMemory& memory, int buffer,
                                          const float* tail) {
  const int own = static_cast<int>(threadIdx.x) % kTileChannels;
#pragma unroll
  for (int i = 0; i < kMoves; ++i) {
    const HaloRow row(i);
    if (row.level > memory.levels) continue;
    *memory.At(buffer, row.level, row.index, own) = tail[i];
  }
}

// The rows of the rings before a chunk; 0 where no token was.
__device__ __forceinline__ void LoadRings(const HierarchicalConvolution& op,
                                          const Place& place, float* rings) {
  const int channel =
      place.channel + static_cast<int>(threadIdx.x) % kTileChannels;
  const float* const state =
      op.state.data + place.slot * op.state.slot_stride + channel;
#pragma unroll
  for (int i = 0; i < kMoves; ++i) {
    const int index =
        static_cast<int>(threadIdx.x) / kTileChannels + i * kMoveRows;
    rings[i] = 0;
    if (index >= RingRow::Count(op) || channel >= op.width) continue;
    const RingRow row(kRunBase, place.position, index);
    if (row.block >= 0) rings[i] = state[row.row * op.width];
  }
}
__device__ __forceinline__ void StoreRings(const HierarchicalConvolution& op,
                                           const Place& place,
                                           const TileMemory& memory, int buffer,
                                           const float* rings) {
  const int own = static_cast<int>(threadIdx.x) % kTileChannels;
#pragma unroll
  for (int i = 0; i < kMoves; ++i) {
    const int index =
        static_cast<int>(threadIdx.x) / kTileChannels + i * kMoveRows;
    if (index >= RingRow::Count(op)) continue;
    const RingRow row(kRunBase, place.position, index);
    *memory.At(buffer, row.level,
               static_cast<int>(row.block - place.FirstBlock(row.level)), own) =
        rings[i];
  }
}

// Each level's own sum behind the chunk; those whose newest block may be one of
// the last warp's by that warp.
__device__ __forceinline__ void SumEnd(const Place& place,
                                       const TileMemory& memory,
                                       const float* taps, bool last_warp) {
  constexpr int kOthers = 7;  // levels
  const int own = static_cast<int>(threadIdx.x) % kTileChannels;
  const int row = static_cast<int>(threadIdx.x) / kTileChannels;
  constexpr int kLastWarp = (kTileThreads - kTileLanes) / kTileChannels;
  int level = last_warp ? kOthers + 1 + row - kLastWarp : 1 + row;
  const int stop = last_warp ? memory.levels : min(kOthers, memory.levels);
  for (; level <= stop; level += kTileLanes / kTileChannels) {
    const int seen =
        static_cast<int>((place.end() >> level) - place.FirstBlock(level));
    memory.EndSums()[(level - 1) * kTileChannels + own] =
        SumAt(LevelTaps(taps, level, own),
              memory.Blocks(level, own) + kRunBase / 2 + seen);
    if (!last_warp) return;
  }
}

// The rings' rows that the chunk changed.
__device__ __forceinline__ void KeepRings(const HierarchicalConvolution& op,
                                          const Place& place,
                                          const TileMemory& memory,
                                          int buffer) {
  const int own = static_cast<int>(threadIdx.x) % kTileChannels;
  if (place.channel + own >= op.width) return;
  float* const state =
      op.state.data + place.slot * op.state.slot_stride + place.channel + own;
  for (int index = static_cast<int>(threadIdx.x) / kTileChannels;
       index < RingRow::Count(op); index += kMoveRows) {
    const RingRow row(kRunBase, place.end(), index);
    const int64_t first =
        row.level == 0 ? place.position
                       : (place.position >> row.level) - kRunBase / 2 + 1;
    if (row.block < max(first, int64_t{0})) continue;  // there already
    state[row.row * op.width] = *memory.At(
        buffer, row.level,
        static_cast<int>(row.block - place.FirstBlock(row.level)), own);
  }
}

// The cached sums behind the chunk, and the output for which the tile is too
// short by one, if it is: that of a chunk whose end is the tile's.
__device__ __forceinline__ void FinishChunk(const HierarchicalConvolution& op,
                                            const Place& place,
                                            const TileMemory& memory,
                                            const Taps& taps, int buffer) {
  const int own = static_cast<int>(threadIdx.x);
  if (own >= kTileChannels || place.channel + own >= op.width) return;
  const int channel = place.channel + own;
  float* const state =
      op.state.data + place.slot * op.state.slot_stride + channel;
  float above = 0;
  for (int level = op.levels; level >= 1; --level) {
    above = memory.EndSums()[(level - 1) * kTileChannels + own] + above;
    if (place.end() >> level != place.position >> level) {
      state[SumRow(op, level) * op.width] = above;
    }
  }
  if (place.end() != place.begin + kTilePositions) return;
  float inputs[kGroup];
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    inputs[i] = *memory.Input(buffer, kTilePositions - kGroup + i, own);
  }
  float sum = SumNear<kGroup - 1>(taps, inputs) + above;
  sum = fmaf(taps.near[0], inputs[kGroup - 1], sum);
  sum = fmaf(taps.skip, inputs[kGroup - 1], sum);
  op.c[(int64_t{place.first_row} + place.rows - 1) * op.width + channel] = sum;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_HIERARCHICAL_TILE_STATE_CUH_
