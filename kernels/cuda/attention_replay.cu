// Linear attention with replay (kernels/attention_replay.h): decode rows, and
// what a chunk does to the ring.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

namespace cg = cooperative_groups;

constexpr int kMostEntries = kMaxReplay;  // the token's included
constexpr int kWarps = kTileThreads / 32;

// One head's ring as a step finds it.
struct Ring {
  float* keys;    // [period, key_dim]
  float* values;  // [period, value_dim]
  float* count;
  int entries;
  bool flush;  // the token ends a period

  __device__ Ring(const LinearAttention& op, int64_t slot, int64_t position,
                  int head) {
    const AttentionReplay& replay = op.replay;
    const int64_t period = replay.period;
    keys = replay.ring.data + slot * replay.ring.slot_stride +
           head * period * (op.key_dim + op.value_dim);
    values = keys + period * op.key_dim;
    count = keys + (period - 1) * op.key_dim;
    const bool fresh = position == 0;
    // A state may come from anybody: a count that is none counts as 0.
    const float stored = fresh ? 0.0f : __ldcg(count);
    const bool counts =
        stored >= 1.0f && stored <= static_cast<float>(period - 1);
    entries = counts ? static_cast<int>(stored) : 0;
    const uint64_t place = static_cast<uint64_t>(position) +
                           static_cast<uint64_t>(replay.offset) +
                           static_cast<uint64_t>(head);
    flush = fresh || entries == replay.period - 1 ||
            place % static_cast<uint64_t>(period) == 0;
  }
};

// What the threads of a block share of a ring.
struct Scores {
  float powers[kMaxReplay + 1];  // decay^0 ..
  float of[kMostEntries];        // decay^(n-s) (q . k_s)
};

// A warp sums the keys of an entry, lane by lane, then as a tree.
__device__ __forceinline__ void MakeScores(const LinearAttention& op,
                                           const Ring& ring,
                                           const TileShared& memory,
                                           Scores& scores) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int s = static_cast<int>(threadIdx.x) / 32; s <= ring.entries;
       s += kWarps) {
    const bool token = s == ring.entries;
    const float* const keys = ring.keys + s * op.key_dim;
    float sum = 0;
    for (int i = lane; i < op.key_dim; i += 32) {
      sum = fmaf(memory.q[i], token ? memory.k[i] : __ldcg(keys + i), sum);
    }
    sum = WarpSum(sum);
    if (lane == 0) scores.of[s] = scores.powers[ring.entries - s] * sum;
  }
}

// S += factor k w^T for a thread's part; `k` are the head's keys.
__device__ __forceinline__ void AddTerm(const TileShape& shape, const float* k,
                                        float factor, const float (&w)[4],
                                        StateTile& tile) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int key = shape.first_key + i;
    const float scaled = key < shape.keys ? factor * k[key] : 0.0f;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      tile.s[i][j] = fmaf(scaled, w[j], tile.s[i][j]);
    }
  }
}

// S = powers[terms] S + sum_s powers[terms - 1 - s] k_s w_s^T for a thread's
// part, s running over the ring's entries; of `terms` the last may be one that
// the caller adds.
__device__ __forceinline__ void AddRing(const LinearAttention& op,
                                        const Ring& ring, const float* powers,
                                        int terms, const TileShape& shape,
                                        StateTile& tile) {
  const float scale = powers[terms];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) tile.s[i][j] *= scale;
  }
#pragma unroll 1
  for (int s = 0; s < ring.entries; ++s) {
    float w[4];
    LoadValues(op, ring.values + s * op.value_dim, shape.first_column, w);
    AddTerm(shape, ring.keys + s * op.key_dim, powers[terms - 1 - s], w, tile);
  }
}

// The values of entry s at a thread's columns: raw sums of the token, which are
// not there before the wait, or what the ring has; 0 where there is no entry.
__device__ __forceinline__ void LoadEntry(const LinearAttention& op,
                                          const Ring& ring, const float* value,
                                          int s, int column, float (&w)[4]) {
  if (s > ring.entries) {
#pragma unroll
    for (int j = 0; j < 4; ++j) w[j] = 0.0f;
    return;
  }
  LoadValues(op, s == ring.entries ? value : ring.values + s * op.value_dim,
             column, w);
}

__device__ __forceinline__ void SiluAll(float (&w)[4]) {
#pragma unroll
  for (int j = 0; j < 4; ++j) w[j] = Silu(w[j]);  // of 0 is 0
}

// The part of entry s at a thread's columns, added to its sums; the token's is
// kept in the ring.
__device__ __forceinline__ void AddEntry(const LinearAttention& op,
                                         const Ring& ring, const Scores& scores,
                                         int s, int column, float (&w)[4],
                                         float (&sums)[4]) {
  if (s > ring.entries) return;
  if (s == ring.entries) SiluAll(w);
  const float score = scores.of[s];
#pragma unroll
  for (int j = 0; j < 4; ++j) sums[j] = fmaf(score, w[j], sums[j]);
  if (s < ring.entries || ring.flush) return;
  float* const to = ring.values + s * op.value_dim + column;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (column + j < op.value_dim) to[j] = w[j];
  }
}

// What a block knows of its head, row and tiles once the inputs are there.
struct Walk {
  const LinearAttention& op;
  const Ring& ring;
  const TileShared& memory;
  const Scores& scores;
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
    float sums[4] = {};
    for (int first = 0; first < op.key_dim; first += kTileKeys) {
      shape.first_key = first + 4 * g;
      if (first > 0 || (!kAhead && own > 0)) {
        tile = walk.fresh ? StateTile{} : shape.Load(walk.state);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool in = shape.first_key + i < op.key_dim;
        const float q = in ? walk.memory.q[shape.first_key + i] : 0.0f;
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[j] = fmaf(q, tile.s[i][j], sums[j]);
      }
      if (kFlush) {
        AddRing(op, walk.ring, walk.scores.powers, walk.ring.entries + 1, shape,
                tile);
        float token_w[4];
        LoadValues(op, walk.value, shape.first_column, token_w);
        SiluAll(token_w);
        AddTerm(shape, walk.memory.k, 1.0f, token_w, tile);
        shape.Store(tile, walk.state);
      }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) sums[j] *= scale;
    AddEntry(op, walk.ring, walk.scores, g, shape.first_column, w, sums);
    if (walk.ring.entries >= kKeyGroups) {
      const int s = g + kKeyGroups;
      LoadEntry(op, walk.ring, walk.value, s, shape.first_column, w);
      AddEntry(op, walk.ring, walk.scores, s, shape.first_column, w, sums);
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
  const Walk walk = {op,    ring, memory,       scores,    state,
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

// A block adds the ring to one tile of 64 value columns of one head of one
// chunk's state.
__global__ void __launch_bounds__(kTileThreads)
    AddRings(const __grid_constant__ LinearAttention op, const Chunk* chunks) {
  __shared__ float powers[kMaxReplay + 1];
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int tiles = ValueTiles(op.value_dim);
  const int head = static_cast<int>(blockIdx.x) / tiles;
  const int thread = static_cast<int>(threadIdx.x);
  const Ring ring(op, chunk.slot, chunk.position, head);
  if (ring.entries == 0) return;  // also at position 0
  const float decay = op.decay == nullptr ? 1.0f : op.decay[head];
  if (thread <= kMaxReplay) powers[thread] = Power(decay, thread);
  __syncthreads();
  TileShape shape;
  shape.keys = op.key_dim;
  shape.columns = op.value_dim;
  shape.aligned = StateAligned(op);
  shape.first_column = static_cast<int>(blockIdx.x) % tiles * kTileColumns +
                       thread % (kTileColumns / 4) * 4;
  float* const state = op.state.data + chunk.slot * op.state.slot_stride +
                       int64_t{head} * op.key_dim * op.value_dim;
  for (int first = 0; first < op.key_dim; first += kTileKeys) {
    shape.first_key = first + thread / (kTileColumns / 4) * 4;
    StateTile tile = shape.Load(state);
    AddRing(op, ring, powers, ring.entries, shape, tile);
    shape.Store(tile, state);
  }
}

// After AddRings, whose blocks all read the counts.
__global__ void __launch_bounds__(32)
    EmptyRings(const __grid_constant__ LinearAttention op,
               const Chunk* chunks) {
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  for (int head = static_cast<int>(threadIdx.x); head < op.heads; head += 32) {
    *Ring(op, chunk.slot, chunk.position, head).count = 0.0f;
  }
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

cudaError_t LaunchEmptyRings(const LinearAttention& op, const ChunkList& chunks,
                             cudaStream_t stream) {
  LaunchShape shape;
  shape.stream = stream;
  shape.grid = dim3(static_cast<unsigned>(op.heads * ValueTiles(op.value_dim)),
                    static_cast<unsigned>(chunks.count));
  shape.block = dim3(kTileThreads);
  const cudaError_t error = Launch(shape, AddRings, op, chunks.chunks);
  if (error != cudaSuccess) return error;
  shape.grid.x = 1;
  shape.block = dim3(32);
  return Launch(shape, EmptyRings, op, chunks.chunks);
}

}  // namespace chela::cuda
