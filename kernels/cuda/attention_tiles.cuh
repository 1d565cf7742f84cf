// Decode rows of the linear attention: what both kernels of them share.
#ifndef CHELA_KERNELS_CUDA_ATTENTION_TILES_CUH_
#define CHELA_KERNELS_CUDA_ATTENTION_TILES_CUH_

#include <cooperative_groups.h>

#include <cstdint>

#include "kernels/cuda/attention_math.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {

// The raw sums of four value columns from `column` on; 0 beyond the head.
__device__ __forceinline__ void LoadValues(const LinearAttention& op,
                                           const float* value, int column,
                                           float (&w)[4]) {
  if (column + 4 <= op.value_dim && op.value_dim % 4 == 0 &&
      reinterpret_cast<uintptr_t>(value) % 16 == 0) {
    const float4 four = __ldcg(reinterpret_cast<const float4*>(value + column));
    w[0] = four.x, w[1] = four.y, w[2] = four.z, w[3] = four.w;
    return;
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    w[j] = column + j < op.value_dim ? __ldcg(value + column + j) : 0.0f;
  }
}

// TileShared memory of a block that has own_tiles of a head's tiles.
struct TileShared {
  __device__ TileShared(float* memory, int key_dim, int own_tiles)
      : q(memory),
        k(q + key_dim),
        o(k + key_dim),
        squares(o + own_tiles * kTileColumns) {}
  static size_t Bytes(int key_dim, int own_tiles, int tiles) {
    return sizeof(float) *
           static_cast<size_t>(2 * key_dim + own_tiles * kTileColumns + tiles);
  }
  float* q;        // [key_dim]
  float* k;        // [key_dim]
  float* o;        // [own_tiles, 64]
  float* squares;  // [tiles]: of every tile's o, whoever computes it
};

// A tile's output from its threads' sums over four keys each, in ascending
// order of the keys; by one warp, which tells its squares to the cluster.
template <bool kClusters>
__device__ __forceinline__ void FinishTile(
    const float (&parts)[kKeyGroups][kTileColumns], int own, int tile_index,
    int cluster_size, const TileShared& memory) {
  const int lane = static_cast<int>(threadIdx.x);
  float low = 0;
  float high = 0;
#pragma unroll
  for (int i = 0; i < kKeyGroups; ++i) {
    low += parts[i][lane];
    high += parts[i][lane + 32];
  }
  memory.o[own * kTileColumns + lane] = low;
  memory.o[own * kTileColumns + lane + 32] = high;
  const float squares = TileSquares(low, high);
  float* to = memory.squares + tile_index;
#if __CUDA_ARCH__ >= 900
  // Written where it will be read: a read from another block's memory takes
  // far longer than the wait for everyone that is needed anyway.
  if constexpr (kClusters) {
    if (lane < cluster_size)
      to = cooperative_groups::this_cluster().map_shared_rank(to, lane);
  }
#endif
  if (lane < cluster_size) *to = squares;
}

// The sum of the squares of all tiles in ascending order.
__device__ __forceinline__ float HeadSquares(const TileShared& memory,
                                             int tiles) {
  float all = 0;
  for (int i = 0; i < tiles; ++i) all += memory.squares[i];
  return all;
}

// A block's share of the outputs of one head of one row.
struct GatePlace {
  int64_t row;
  int head;
  int rank;
  int cluster_size;
  const float* reset;  // raw sums of the head
  // Of the thread's column of the block's first tile.
  float first_reset;
  float first_weight;
};

// Norms and gates the columns of the block's tiles, once all tiles' squares are
// there.
__device__ __forceinline__ void GateTiles(const LinearAttention& op,
                                          const RoundedOut& copy,
                                          const TileShared& memory,
                                          const GatePlace& at) {
  const int tiles = ValueTiles(op.value_dim);
  const int own_tiles = (tiles + at.cluster_size - 1) / at.cluster_size;
  const float scale = HeadScale(op, HeadSquares(memory, tiles));
  for (int i = static_cast<int>(threadIdx.x); i < own_tiles * kTileColumns;
       i += kTileThreads) {
    const int column =
        (i / kTileColumns * at.cluster_size + at.rank) * kTileColumns +
        i % kTileColumns;
    if (column >= op.value_dim) continue;
    const int over_all = at.head * op.value_dim + column;
    const int64_t to = at.row * op.heads * op.value_dim + over_all;
    const bool first = i < kTileColumns;
    const float out = Gate(memory.o[i], scale,
                           first ? at.first_reset : __ldcg(at.reset + column),
                           first ? at.first_weight : op.norm_weight[over_all]);
    op.out[to] = out;
    StoreRounded(copy, to, out);
  }
}

// Blocks that share a head: as many as it has tiles while there are few rows,
// fewer where those alone fill the multiprocessors, two each. The bits are the
// same.
inline int ClusterFor(const LinearAttention& op, int max_rows, int processors) {
  int cluster = ClusterOf(op.value_dim);
  while (cluster > 1 && int64_t{op.heads} * max_rows * (cluster / 2) >=
                            int64_t{2} * processors - 8) {
    cluster /= 2;
  }
  return cluster;
}

inline int OwnTiles(const LinearAttention& op, int cluster) {
  return (ValueTiles(op.value_dim) + cluster - 1) / cluster;
}

inline LaunchShape DecodeShape(const LinearAttention& op, int32_t max_rows,
                               int32_t processors, bool clusters, bool overlap,
                               cudaStream_t stream) {
  LaunchShape shape;
  shape.cluster = clusters ? ClusterFor(op, max_rows, processors) : 1;
  shape.grid = dim3(static_cast<unsigned>(op.heads * shape.cluster),
                    static_cast<unsigned>(max_rows));
  shape.block = dim3(kTileThreads);
  shape.shared_bytes = TileShared::Bytes(
      op.key_dim, OwnTiles(op, shape.cluster), ValueTiles(op.value_dim));
  shape.overlap = overlap;
  shape.stream = stream;
  return shape;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ATTENTION_TILES_CUH_
