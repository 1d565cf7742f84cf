// Decode rows of the linear attention with replay (kernels/attention_replay.h).
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_ring.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

namespace cg = cooperative_groups;

// What a block knows of its head, row and tiles once the inputs are there.
struct Walk {
  const LinearAttention& op;
  const Ring& ring;
  const TileShared& memory;
  const Scores& scores;
  EntryTile* entries;
  float* state;
  const float* value;  // raw sums of the token
  int rank;
  int cluster_size;
  int own_tiles;
  bool fresh;
};

// The outputs of a block's tiles before norm and gate, one tile after the
// other. `tile` and `w` are the first one's. kFlush: the token ends a period; a
// code of its own, since what it needs besides would leave the others no
// registers for the next tile.
template <bool kClusters, bool kAhead, bool kFlush>
__device__ __forceinline__ void WalkTiles(
    const Walk& walk, float (&parts)[2][kKeyGroups][kTileColumns],
    TileShape shape, StateTile tile, float (&w)[4]) {
  const LinearAttention& op = walk.op;
  const int thread = static_cast<int>(threadIdx.x);
  const int g = thread / (kTileColumns / 4);
  const int c = thread % (kTileColumns / 4);
  const int tiles = ValueTiles(op.value_dim);
  const float scale = walk.scores.powers[walk.ring.entries + 1];
  for (int own = 0; own < walk.own_tiles; ++own) {
    const int tile_index = own * walk.cluster_size + walk.rank;
    if (tile_index >= tiles) break;
    const int next_column =
        (tile_index + walk.cluster_size) * kTileColumns + 4 * c;
    const bool more = tile_index + walk.cluster_size < tiles;
    float next_w[4] = {};
    StateTile next = {};
    if (kAhead && more) {
      TileShape there = shape;
      there.first_key = 4 * g;
      there.first_column = next_column;
      if (!walk.fresh) next = there.Load(walk.state);
      LoadEntry(op, walk.ring, walk.value, g, next_column, next_w);
    }
    const bool second = walk.ring.entries >= kKeyGroups;
    float second_w[4];
    const auto load_second = [&] {
      LoadEntry(op, walk.ring, walk.value, g + kKeyGroups, shape.first_column,
                second_w);
      FinishEntry(walk.ring, g + kKeyGroups, second_w);
    };
    FinishEntry(walk.ring, g, w);
    if constexpr (kFlush) {
      // The barrier at the end of the tile before is past its last use.
      walk.entries->w[g][c] = make_float4(w[0], w[1], w[2], w[3]);
      if (second) {
        load_second();
        walk.entries->w[g + kKeyGroups][c] =
            make_float4(second_w[0], second_w[1], second_w[2], second_w[3]);
      }
    }
    float sums[4] = {};
    for (int first = 0; first < op.key_dim; first += kTileKeys) {
      shape.first_key = first + 4 * g;
      if (first > 0 || (!kAhead && own > 0)) {
        tile = walk.fresh ? StateTile{} : shape.Load(walk.state);
      }
      if constexpr (kFlush) {
        if (first > 0) __syncthreads();  // the last keys were read
        if (own == 0 || op.key_dim > kTileKeys) {
          ShareKeys(op, walk.ring, walk.memory, walk.scores, first,
                    *walk.entries);
        }
        __syncthreads();
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool in = shape.first_key + i < op.key_dim;
        const float q = in ? walk.memory.q[shape.first_key + i] : 0.0f;
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[j] = fmaf(q, tile.s[i][j], sums[j]);
      }
      if constexpr (kFlush) {
        AddEntries(*walk.entries, walk.ring.entries + 1, scale, g, c, tile);
        shape.Store(tile, walk.state);
      }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) sums[j] *= scale;
    AddEntry(op, walk.ring, walk.scores, g, shape.first_column, w, sums);
    if (second) {
      if (!kFlush) load_second();
      AddEntry(op, walk.ring, walk.scores, g + kKeyGroups, shape.first_column,
               second_w, sums);
    }
    // Two buffers: a warp that is a tile ahead writes into the other one.
    float(&sums_of)[kKeyGroups][kTileColumns] = parts[own % 2];
#pragma unroll
    for (int j = 0; j < 4; ++j) sums_of[g][4 * c + j] = sums[j];
    __syncthreads();
    if (thread < 32) {
      FinishTile<kClusters>(sums_of, own, tile_index, walk.cluster_size,
                            walk.memory);
    }
    shape.first_column = next_column;
    if (kAhead) {
      tile = next;
#pragma unroll
      for (int j = 0; j < 4; ++j) w[j] = next_w[j];
    } else if (more) {
      LoadEntry(op, walk.ring, walk.value, g, next_column, w);
    }
  }
}

// As DecodeAttention: a cluster of blocks owns one head of one row, a block the
// tiles rank, rank + cluster_size .. of its columns, thread (g, c) keys 4 g ..
// and columns 4 c ..; and entries g and g + 16 of the ring.
template <bool kClusters, bool kAhead>
__global__ void __launch_bounds__(kTileThreads, 3)
    ReplayAttention(const __grid_constant__ LinearAttention op,
                    const __grid_constant__ RoundedOut copy,
                    const __grid_constant__ DecodeRows rows, int cluster_size) {
  extern __shared__ float dynamic[];
  __shared__ float parts[2][kKeyGroups][kTileColumns];
  __shared__ Scores scores;
  __shared__ EntryTile entries;
  const int tiles = ValueTiles(op.value_dim);
  const int own_tiles = (tiles + cluster_size - 1) / cluster_size;
  const TileShared memory(dynamic, op.key_dim, own_tiles);
  const int head = static_cast<int>(blockIdx.x) / cluster_size;
  const int rank = static_cast<int>(blockIdx.x) % cluster_size;
  const int index = static_cast<int>(blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x);
  const int g = thread / (kTileColumns / 4);
  const int c = thread % (kTileColumns / 4);

  LetLaterStart();
  // The whole cluster; the number of rows is from before the step's first
  // kernel.
  if (index >= *rows.count) {
    WaitForEarlier();
    return;
  }
#if __CUDA_ARCH__ >= 900
  if constexpr (kClusters) cg::this_cluster().barrier_arrive();
#endif
  const int64_t slot = rows.slots[index];
  const bool fresh = rows.positions[index] == 0;
  const Ring ring(op, slot, rows.positions[index], head);
  TileShape shape;
  shape.keys = op.key_dim;
  shape.columns = op.value_dim;
  shape.aligned = StateAligned(op);
  shape.first_key = 4 * g;
  shape.first_column = rank * kTileColumns + 4 * c;
  float* const state = op.state.data + slot * op.state.slot_stride +
                       int64_t{head} * op.key_dim * op.value_dim;
  StateTile tile = {};
  if (!fresh && rank < tiles) tile = shape.Load(state);
  const float decay = op.decay == nullptr ? 1.0f : op.decay[head];
  if (thread <= kMaxReplay) scores.powers[thread] = Power(decay, thread);
  const int64_t row = rows.rows[index];
  AttentionScales scales = {};
  if (thread < op.key_dim) scales = LoadScales(op, head * op.key_dim + thread);
  const int first_out = rank * kTileColumns + thread;
  const bool outputs_first = thread < kTileColumns && first_out < op.value_dim;
  const float first_weight =
      outputs_first ? op.norm_weight[head * op.value_dim + first_out] : 0.0f;
  const float* const value =
      op.value.data + row * op.value.stride + int64_t{head} * op.value_dim;
  const float* const reset =
      op.reset.data + row * op.reset.stride + int64_t{head} * op.value_dim;

  WaitForEarlier();
#if __CUDA_ARCH__ >= 900
  // All its blocks have begun, so their memory may be written.
  if constexpr (kClusters) cg::this_cluster().barrier_wait();
#endif
  float w[4];
  LoadEntry(op, ring, value, g, shape.first_column, w);
  const float first_reset = outputs_first ? __ldcg(reset + first_out) : 0.0f;
  for (int i = thread; i < op.key_dim; i += kTileThreads) {
    const int key = head * op.key_dim + i;
    const float shared = __ldcg(op.shared.data + row * op.shared.stride + key);
    const float2 both =
        QueryAndKey(op, shared, i == thread ? scales : LoadScales(op, key));
    memory.q[i] = both.x;
    memory.k[i] = both.y;
    if (rank == 0 && !ring.flush) {
      ring.keys[ring.entries * op.key_dim + i] = both.y;
    }
  }
  __syncthreads();
  MakeScores(op, ring, memory, scores);
  __syncthreads();
  const Walk walk = {op,    ring, memory,       scores,    &entries, state,
                     value, rank, cluster_size, own_tiles, fresh};
  if (ring.flush) {
    WalkTiles<kClusters, false, true>(walk, parts, shape, tile, w);
  } else {
    WalkTiles<kClusters, kAhead, false>(walk, parts, shape, tile, w);
  }
#if __CUDA_ARCH__ >= 900
  if constexpr (kClusters) cg::this_cluster().sync();
#endif
  if constexpr (!kClusters) __syncthreads();
  // Every block of the head has read the count.
  if (rank == 0 && thread == 0) {
    *ring.count = ring.flush ? 0.0f : static_cast<float>(ring.entries + 1);
  }
  GateTiles(op, copy, memory,
            {.row = row,
             .head = head,
             .rank = rank,
             .cluster_size = cluster_size,
             .reset = reset,
             .first_reset = first_reset,
             .first_weight = first_weight});
}

template <bool kAhead>
cudaError_t LaunchOf(const LinearAttention& op, const RoundedOut& copy,
                     const DecodeRows& rows, const LaunchShape& shape) {
  return shape.cluster > 1
             ? Launch(shape, ReplayAttention<true, kAhead>, op, copy, rows,
                      shape.cluster)
             : Launch(shape, ReplayAttention<false, kAhead>, op, copy, rows, 1);
}

}  // namespace

cudaError_t LaunchReplay(const LinearAttention& op, const RoundedOut& copy,
                         const DecodeRows& rows, int32_t max_rows,
                         int32_t processors, bool clusters, bool overlap,
                         cudaStream_t stream) {
  const LaunchShape shape =
      DecodeShape(op, max_rows, processors, clusters, overlap, stream);
  return OwnTiles(op, shape.cluster) > 1
             ? LaunchOf<true>(op, copy, rows, shape)
             : LaunchOf<false>(op, copy, rows, shape);
}

}  // namespace chela::cuda
