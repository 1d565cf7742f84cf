// Decode rows of the linear attention.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

namespace cg = cooperative_groups;

// A cluster of blocks owns one head of one row; block r of it tiles r,
// r + cluster_size .. of the value columns, one after the other. Thread (g, c)
// has keys 4 g .. 4 g + 3 and columns 4 c .. 4 c + 3. The state of the first
// tile is on its way before the wait for the projections; for kAhead that of
// each next one while the tile in front of it is computed.
template <bool kClusters, bool kAhead>
__global__ void __launch_bounds__(kTileThreads, kAhead ? 3 : 4)
    DecodeAttention(const __grid_constant__ LinearAttention op,
                    const __grid_constant__ RoundedOut copy,
                    const __grid_constant__ DecodeRows rows, int cluster_size) {
  extern __shared__ float dynamic[];
  __shared__ float parts[2][kKeyGroups][kTileColumns];
  const int tiles = ValueTiles(op.value_dim);
  const int own_tiles = (tiles + cluster_size - 1) / cluster_size;
  const TileShared memory(dynamic, op.key_dim, own_tiles);

  const int head = static_cast<int>(blockIdx.x) / cluster_size;
  const int rank = static_cast<int>(blockIdx.x) % cluster_size;
  const int index = static_cast<int>(blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x);
  const int g = thread / (kTileColumns / 4);
  const int c = thread % (kTileColumns / 4);
  const bool exists = index < *rows.count;

  LetLaterStart();
#if __CUDA_ARCH__ >= 900
  if constexpr (kClusters) cg::this_cluster().barrier_arrive();
#endif
  TileShape shape;
  shape.keys = op.key_dim;
  shape.columns = op.value_dim;
  shape.aligned = StateAligned(op);
  shape.first_key = 4 * g;
  shape.first_column = rank * kTileColumns + 4 * c;
  float* state = nullptr;
  bool fresh = false;
  StateTile tile = {};
  if (exists) {
    state = op.state.data + rows.slots[index] * op.state.slot_stride +
            int64_t{head} * op.key_dim * op.value_dim;
    fresh = rows.positions[index] == 0;
    if (!fresh && rank < tiles) tile = shape.Load(state);
  }
  const float decay = op.decay == nullptr ? 1.0f : op.decay[head];
  const int64_t row = exists ? rows.rows[index] : 0;
  // Of this thread's first key and output: weights, which never change.
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
  if (!exists) return;  // the whole cluster
#if __CUDA_ARCH__ >= 900
  // All its blocks have begun, so their memory may be written.
  if constexpr (kClusters) cg::this_cluster().barrier_wait();
#endif
  // Everything that the first tile needs is asked for at once.
  float w[4];
  LoadValues(op, value, shape.first_column, w);
  const float first_reset = outputs_first ? __ldcg(reset + first_out) : 0.0f;
  for (int i = thread; i < op.key_dim; i += kTileThreads) {
    const int key = head * op.key_dim + i;
    const float shared = __ldcg(op.shared.data + row * op.shared.stride + key);
    const float2 both =
        QueryAndKey(op, shared, i == thread ? scales : LoadScales(op, key));
    memory.q[i] = both.x;
    memory.k[i] = both.y;
  }
  __syncthreads();
  for (int own = 0; own < own_tiles; ++own) {
    const int tile_index = own * cluster_size + rank;
    if (tile_index >= tiles) break;
    const int next_column = (tile_index + cluster_size) * kTileColumns + 4 * c;
    const bool more = tile_index + cluster_size < tiles;
    float next_w[4] = {};
    StateTile next = {};
    if (kAhead && more) {
      TileShape there = shape;
      there.first_key = 4 * g;
      there.first_column = next_column;
      if (!fresh) next = there.Load(state);
      LoadValues(op, value, next_column, next_w);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) w[j] = Silu(w[j]);  // of 0 is 0
    float sums[4] = {};
    for (int first = 0; first < op.key_dim; first += kTileKeys) {
      shape.first_key = first + 4 * g;
      if (first > 0 || (!kAhead && own > 0)) {
        tile = fresh ? StateTile{} : shape.Load(state);
      }
      float keys[4];
      float queries[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool in = shape.first_key + i < op.key_dim;
        keys[i] = in ? memory.k[shape.first_key + i] : 0.0f;
        queries[i] = in ? memory.q[shape.first_key + i] : 0.0f;
      }
      Advance(tile, decay, keys, queries, w, sums);
      shape.Store(tile, state);
    }
    // Two buffers: a warp that is a tile ahead writes into the other one.
    float(&sums_of)[kKeyGroups][kTileColumns] = parts[own % 2];
#pragma unroll
    for (int j = 0; j < 4; ++j) sums_of[g][4 * c + j] = sums[j];
    __syncthreads();
    if (thread < 32) {
      FinishTile<kClusters>(sums_of, own, tile_index, cluster_size, memory);
    }
    shape.first_column = next_column;
    if (kAhead) {
      tile = next;
#pragma unroll
      for (int j = 0; j < 4; ++j) w[j] = next_w[j];
    } else if (more) {
      LoadValues(op, value, next_column, w);
    }
  }
#if __CUDA_ARCH__ >= 900
  if constexpr (kClusters) cg::this_cluster().sync();
#endif
  if constexpr (!kClusters) __syncthreads();
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
             ? Launch(shape, DecodeAttention<true, kAhead>, op, copy, rows,
                      shape.cluster)
             : Launch(shape, DecodeAttention<false, kAhead>, op, copy, rows, 1);
}

}  // namespace

cudaError_t LaunchDecode(const LinearAttention& op, const RoundedOut& copy,
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
