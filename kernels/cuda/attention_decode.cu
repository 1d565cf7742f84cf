// Decode rows of the linear attention.
#include <cooperative_groups.h>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_math.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

namespace cg = cooperative_groups;

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

// A cluster of blocks owns one head of one row; a block the value columns of
// its tiles, one tile at a time. Thread (g, c) has keys 4 g .. 4 g + 3 and
// columns 4 c .. 4 c + 3. The state of the first tile is on its way before the
// wait for the projections.
template <bool kClusters>
__global__ void __launch_bounds__(kTileThreads, 4)
    DecodeAttention(const __grid_constant__ LinearAttention op,
                    const __grid_constant__ RoundedOut copy,
                    const __grid_constant__ DecodeRows rows, int cluster_size) {
  extern __shared__ float memory[];
  __shared__ float parts[kKeyGroups][kTileColumns];
  __shared__ float block_squares;
  const int tiles = ValueTiles(op.value_dim);
  const int own_tiles = (tiles + cluster_size - 1) / cluster_size;
  float* const q = memory;          // [key_dim]
  float* const k = q + op.key_dim;  // [key_dim]
  float* const o = k + op.key_dim;  // [own_tiles, 64]

  const int head = static_cast<int>(blockIdx.x) / cluster_size;
  const int rank = static_cast<int>(blockIdx.x) % cluster_size;
  const int index = static_cast<int>(blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x);
  const int g = thread / (kTileColumns / 4);
  const int c = thread % (kTileColumns / 4);
  const bool exists = index < *rows.count;

  LetLaterStart();
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
  const int own_key = head * op.key_dim + thread;
  AttentionScales scales = {};
  if (thread < op.key_dim) scales = LoadScales(op, own_key);
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
  // Everything that the first tile needs is asked for at once.
  float w[4];
  LoadValues(op, value, shape.first_column, w);
  const float first_reset = outputs_first ? __ldcg(reset + first_out) : 0.0f;
  for (int i = thread; i < op.key_dim; i += kTileThreads) {
    const int key = head * op.key_dim + i;
    const float shared = __ldcg(op.shared.data + row * op.shared.stride + key);
    const float2 both =
        QueryAndKey(op, shared, i == thread ? scales : LoadScales(op, key));
    q[i] = both.x;
    k[i] = both.y;
  }
  float squares = 0;
  for (int own = 0; own < own_tiles; ++own) {
    const int tile_index = own * cluster_size + rank;
    if (tile_index >= tiles) break;
    shape.first_column = tile_index * kTileColumns + 4 * c;
    if (own > 0) LoadValues(op, value, shape.first_column, w);
#pragma unroll
    for (int j = 0; j < 4; ++j) w[j] = Silu(w[j]);  // of 0 is 0
    __syncthreads();  // q and k are there; parts may be written again
    float sums[4] = {};
    for (int first = 0; first < op.key_dim; first += kTileKeys) {
      shape.first_key = first + 4 * g;
      if (own > 0 || first > 0) {
        tile = fresh ? StateTile{} : shape.Load(state);
      }
      float keys[4];
      float queries[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool in = shape.first_key + i < op.key_dim;
        keys[i] = in ? k[shape.first_key + i] : 0.0f;
        queries[i] = in ? q[shape.first_key + i] : 0.0f;
      }
      Advance(tile, decay, keys, queries, w, sums);
      shape.Store(tile, state);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) parts[g][4 * c + j] = sums[j];
    __syncthreads();
    if (thread < 32) {
      float low = 0;
      float high = 0;
#pragma unroll
      for (int i = 0; i < kKeyGroups; ++i) {
        low += parts[i][thread];
        high += parts[i][thread + 32];
      }
      o[own * kTileColumns + thread] = low;
      o[own * kTileColumns + thread + 32] = high;
      squares += TileSquares(low, high);
    }
  }
  if (thread == 0) block_squares = squares;
  __syncthreads();
  float all = 0;
#if __CUDA_ARCH__ >= 900
  if constexpr (kClusters) {
    const cg::cluster_group cluster = cg::this_cluster();
    cluster.sync();
    for (int i = 0; i < cluster_size; ++i) {
      all += *cluster.map_shared_rank(&block_squares, i);
    }
    cluster.barrier_arrive();  // awaited before this block ends
  }
#endif
  if constexpr (!kClusters) all = block_squares;
  const float scale = HeadScale(op, all);
  for (int i = thread; i < own_tiles * kTileColumns; i += kTileThreads) {
    const int column = (i / kTileColumns * cluster_size + rank) * kTileColumns +
                       i % kTileColumns;
    if (column >= op.value_dim) continue;
    const int over_all = head * op.value_dim + column;
    const int64_t at = row * op.heads * op.value_dim + over_all;
    const bool first = i < kTileColumns;
    const float out =
        Gate(o[i], scale, first ? first_reset : __ldcg(reset + column),
             first ? first_weight : op.norm_weight[over_all]);
    op.out[at] = out;
    StoreRounded(copy, at, out);
  }
#if __CUDA_ARCH__ >= 900
  // The others may still read this block's sum.
  if constexpr (kClusters) cg::this_cluster().barrier_wait();
#endif
}

}  // namespace

cudaError_t LaunchDecode(const LinearAttention& op, const RoundedOut& copy,
                         const DecodeRows& rows, int32_t max_rows,
                         bool clusters, bool overlap, cudaStream_t stream) {
  const int cluster = clusters ? ClusterOf(op.value_dim) : 1;
  const int own_tiles = (ValueTiles(op.value_dim) + cluster - 1) / cluster;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(op.heads * cluster),
                    static_cast<unsigned>(max_rows));
  shape.block = dim3(kTileThreads);
  shape.shared_bytes =
      static_cast<size_t>(2 * op.key_dim + own_tiles * kTileColumns) *
      sizeof(float);
  shape.cluster = cluster;
  shape.overlap = overlap;
  shape.stream = stream;
  return cluster > 1
             ? Launch(shape, DecodeAttention<true>, op, copy, rows, cluster)
             : Launch(shape, DecodeAttention<false>, op, copy, rows, 1);
}

}  // namespace chela::cuda
