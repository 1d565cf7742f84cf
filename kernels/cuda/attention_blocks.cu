// Chunks of the linear attention in blocks of 64 tokens, for heads of up to 64
// keys. With n tokens of a block, S the state before it and l the decay,
//   o_t = l^(t+1) S^T q_t + sum_{s<=t} l^(t-s) (q_t . k_s) w_s
//   S'  = l^n S + sum_s l^(n-1-s) k_s w_s^T
// so that every power is at most 1 and every sum a matrix product.
//
// Blocks lie at absolute positions [64 i, 64 (i+1)), groups of four blocks
// likewise. A group's own part of the state is summed from zero, and the state
// at its start is added to it scaled; groups of one chunk therefore run in
// parallel, and pieces of a prompt that end at groups give the bits of the
// whole.
//
// Floor at 64 x 512 a head: 4 x 64^3 products a block and 64 columns, times 3
// for float32's accuracy, 25 GFLOP for 8,192 tokens of 4 heads, of which the
// causal half of two is skipped; 8 bytes a value and token.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_math.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/tensor_float.cuh"

namespace chela::cuda {
namespace {

constexpr int kBlockTokens = 64;
constexpr int kBlocksThreads = 128;
// Floats from one row to the next in shared memory: 8 and 4 mod 32 keep the
// fragments' loads free of bank conflicts.
constexpr int kTokenStride = 72;  // of queries, keys and values
constexpr int kStateStride = 68;
constexpr int kQueries = 0;
constexpr int kKeys = kQueries + kBlockTokens * kTokenStride;
constexpr int kValues = kKeys + kBlockTokens * kTokenStride;
constexpr int kState = kValues + kBlockTokens * kTokenStride;
constexpr int kPowers = kState + kTileKeys * kStateStride;
constexpr int kFloats = kPowers + kBlockTokens + 1;

// x^n to float32's last bit.
__device__ float Power(float x, int n) {
  double power = 1;
  for (double square = x; n > 0; n /= 2, square *= square) {
    if (n % 2 != 0) power *= square;
  }
  return static_cast<float>(power);
}

// The tokens of one group of a chunk.
struct GroupSpan {
  int groups = 0;     // of the chunk
  int64_t begin = 0;  // absolute positions
  int64_t end = 0;
};
__device__ GroupSpan SpanOf(const Chunk& chunk, int group) {
  const int64_t first = chunk.position / kStateGroup;
  const int64_t chunk_end = chunk.position + chunk.rows;
  GroupSpan span;
  span.groups = static_cast<int>((chunk_end - 1) / kStateGroup - first) + 1;
  span.begin = max(chunk.position, (first + group) * kStateGroup);
  span.end = min(chunk_end, (first + group + 1) * kStateGroup);
  return span;
}

// phi(q) and phi(k) of every row, 64 keys a head; missing ones are 0.
__global__ void __launch_bounds__(256)
    PrepareKeys(const __grid_constant__ LinearAttention op,
                const __grid_constant__ ChunkScratch scratch,
                const Chunk* chunks) {
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int64_t index = int64_t{blockIdx.x} * 256 + threadIdx.x;
  const int key = static_cast<int>(index % kTileKeys);
  const int64_t row_and_head = index / kTileKeys;
  if (row_and_head >= int64_t{chunk.rows} * op.heads) return;
  const int64_t row = chunk.first_row + row_and_head / op.heads;
  const int head = static_cast<int>(row_and_head % op.heads);
  float2 both = make_float2(0.0f, 0.0f);
  if (key < op.key_dim) {
    const int over_all = head * op.key_dim + key;
    both =
        QueryAndKey(op, op.shared.data[row * op.shared.stride + over_all],
                    LoadScales(op, over_all));
  }
  const int64_t to = (row * op.heads + head) * kTileKeys + key;
  scratch.queries[to] = both.x;
  scratch.keys[to] = both.y;
}

// What a block of threads works on: 64 value columns of a head.
struct Tile {
  const LinearAttention& op;
  const ChunkScratch& scratch;
  int head = 0;
  int first_column = 0;
  bool aligned_values = false;

  __device__ int64_t StateAt(int key, int column) const {
    return (int64_t{head} * op.key_dim + key) * op.value_dim + first_column +
           column;
  }
  __device__ bool InState(int key, int column) const {
    return key < op.key_dim && first_column + column < op.value_dim;
  }
  __device__ int64_t StateFloats() const {
    return int64_t{op.heads} * op.key_dim * op.value_dim;
  }
};

__device__ void LoadTokens(const float* from, int heads, int count, float* to) {
#pragma unroll 8
  for (int i = static_cast<int>(threadIdx.x); i < kBlockTokens * 16;
       i += kBlocksThreads) {
    const int token = i / 16;
    const int four = i % 16 * 4;
    float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (token < count) {
      x = *reinterpret_cast<const float4*>(
          from + int64_t{token} * heads * kTileKeys + four);
    }
    *reinterpret_cast<float4*>(to + token * kTokenStride + four) = x;
  }
}

__device__ void LoadValues(const Tile& tile, int64_t first_row, int count,
                           float* to) {
  const LinearAttention& op = tile.op;
  const float* from = op.value.data + first_row * op.value.stride +
                      int64_t{tile.head} * op.value_dim + tile.first_column;
#pragma unroll 8
  for (int i = static_cast<int>(threadIdx.x); i < kBlockTokens * 16;
       i += kBlocksThreads) {
    const int token = i / 16;
    const int four = i % 16 * 4;
    float x[4] = {};
    if (token < count) {
      const float* row = from + int64_t{token} * op.value.stride + four;
      if (tile.aligned_values) {
        if (tile.first_column + four < op.value_dim) {
          const float4 all = *reinterpret_cast<const float4*>(row);
          x[0] = all.x, x[1] = all.y, x[2] = all.z, x[3] = all.w;
        }
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          if (tile.first_column + four + j < op.value_dim) x[j] = row[j];
        }
      }
    }
    *reinterpret_cast<float4*>(to + token * kTokenStride + four) =
        make_float4(Silu(x[0]), Silu(x[1]), Silu(x[2]), Silu(x[3]));
  }
}

// The outputs of 16 tokens of a block by one warp.
__device__ void WriteOutputs(const Tile& tile, const float* memory,
                             int64_t first_row, int count) {
  const FragmentLane lane;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int token = warp * 16 + lane.row;
  const float* const q = memory + kQueries + token * kTokenStride;
  const float* const powers = memory + kPowers;
  const auto query = [&](int first, int i) {
    return q[i % 2 * 8 * kTokenStride + first + 2 * lane.pair + i / 2];
  };
  // Terms 2 pair and 2 pair + 1 stand for a fragment's pair and pair + 4.
  float scores[8][4] = {};
  const int causal = 2 * warp + 2;  // fragments of 8 tokens that it may see
  {
    WarpSums sums;
#pragma unroll 2
    for (int key = 0; key < kTileKeys; key += 8) {
      AddProducts([&](int i) { return query(key, i); },
                  [&](int j, int i) {
                    return memory[kKeys + (8 * j + lane.row) * kTokenStride +
                                  key + 2 * lane.pair + i];
                  },
                  causal, &sums);
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int ago = token + i / 2 * 8 - (8 * j + 2 * lane.pair + i % 2);
        scores[j][i] = ago >= 0 ? powers[ago] * sums.At(j, i) : 0.0f;
      }
    }
  }
  float out[8][4];
  {
    WarpSums sums;
#pragma unroll
    for (int s = 0; s < 8; ++s) {
      if (s >= causal) continue;
      AddProducts([&](int i) { return scores[s][i % 2 * 2 + i / 2]; },
                  [&](int j, int i) {
                    return memory[kValues +
                                  (8 * s + 2 * lane.pair + i) * kTokenStride +
                                  8 * j + lane.row];
                  },
                  8, &sums);
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out[j][i] = sums.At(j, i);
    }
  }
  WarpSums sums;
#pragma unroll 2
  for (int key = 0; key < kTileKeys; key += 8) {
    AddProducts([&](int i) { return query(key, i); },
                [&](int j, int i) {
                  return memory[kState +
                                (key + 2 * lane.pair + i) * kStateStride +
                                8 * j + lane.row];
                },
                8, &sums);
  }
  const LinearAttention& op = tile.op;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int own = token + 8 * half;
    if (own >= count) continue;
    float* const to =
        op.out + ((first_row + own) * op.heads + tile.head) * op.value_dim +
        tile.first_column;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int column = 8 * j + 2 * lane.pair + i;
        if (tile.first_column + column >= op.value_dim) continue;
        to[column] = fmaf(powers[own + 1], sums.At(j, 2 * half + i),
                          out[j][2 * half + i]);
      }
    }
  }
}

// local = l^n local + sum_s l^(n-1-s) k_s w_s^T for a warp's 16 keys.
__device__ void AddTokens(const float* memory, int count,
                          float (&local)[8][4]) {
  const FragmentLane lane;
  const int key = static_cast<int>(threadIdx.x) / 32 * 16 + lane.row;
  const float* const powers = memory + kPowers;
  WarpSums sums;
#pragma unroll 2
  for (int first = 0; first < kBlockTokens; first += 8) {
    AddProducts(
        [&](int i) {
          const int token = first + lane.pair + i / 2 * 4;
          return token < count
                     ? powers[count - 1 - token] *
                           memory[kKeys + token * kTokenStride + key +
                                  i % 2 * 8]
                     : 0.0f;
        },
        [&](int j, int i) {
          return memory[kValues + (first + lane.pair + 4 * i) * kTokenStride +
                        8 * j + lane.row];
        },
        8, &sums);
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      local[j][i] = fmaf(powers[count], local[j][i], sums.At(j, i));
    }
  }
}

// A lane's part of a group's own state: where value i of fragment j lies.
struct Place {
  int key = 0;
  int column = 0;
};
__device__ __forceinline__ Place PlaceOf(const FragmentLane& lane, int j,
                                         int i) {
  return {static_cast<int>(threadIdx.x) / 32 * 16 + lane.row + i / 2 * 8,
          8 * j + 2 * lane.pair + i % 2};
}

// A block of threads walks through one group of one chunk for 64 columns of a
// head. Without kOutputs it leaves the group's own part of the state for
// JoinGroups, which is not needed of a chunk's last group.
template <bool kOutputs>
__global__ void __launch_bounds__(kBlocksThreads, 2)
    AttentionGroups(const __grid_constant__ LinearAttention op,
                    const __grid_constant__ ChunkScratch scratch,
                    const Chunk* chunks) {
  extern __shared__ float4 aligned_memory[];
  float* const memory = reinterpret_cast<float*>(aligned_memory);
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int group = static_cast<int>(blockIdx.z);
  const GroupSpan span = SpanOf(chunk, group);
  const bool last = group == span.groups - 1;
  if (group >= span.groups || (!kOutputs && last)) return;
  const int tiles = ValueTiles(op.value_dim);
  const Tile tile = {
      op, scratch, static_cast<int>(blockIdx.x) / tiles,
      static_cast<int>(blockIdx.x) % tiles * kTileColumns,
      op.value_dim % 4 == 0 && op.value.stride % 4 == 0 &&
          reinterpret_cast<uintptr_t>(op.value.data) % 16 == 0};
  const float decay = op.decay == nullptr ? 1.0f : op.decay[tile.head];
  if (threadIdx.x <= kBlockTokens) {
    memory[kPowers + threadIdx.x] = Power(decay, static_cast<int>(threadIdx.x));
  }
  float* const state = op.state.data + chunk.slot * op.state.slot_stride;
  const float* const before =
      span.groups == 1
          ? state
          : scratch.states + (chunk.first_group + group) * tile.StateFloats();
  const bool zero = span.groups == 1 && chunk.position == 0;
  const FragmentLane lane;
  float local[8][4] = {};
  for (int64_t begin = span.begin; begin < span.end;) {
    const int64_t end =
        min(span.end, (begin / kBlockTokens + 1) * kBlockTokens);
    const int count = static_cast<int>(end - begin);
    const int64_t first_row = chunk.first_row + (begin - chunk.position);
    const int64_t first_key = (first_row * op.heads + tile.head) * kTileKeys;
    __syncthreads();  // the last block's tokens were read
    if (kOutputs) {
      LoadTokens(scratch.queries + first_key, op.heads, count,
                 memory + kQueries);
      const float scale = Power(decay, static_cast<int>(begin - span.begin));
#pragma unroll
      for (int j = 0; j < 8; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const Place at = PlaceOf(lane, j, i);
          const float start = !zero && tile.InState(at.key, at.column)
                                  ? before[tile.StateAt(at.key, at.column)]
                                  : 0.0f;
          memory[kState + at.key * kStateStride + at.column] =
              fmaf(scale, start, local[j][i]);
        }
      }
    }
    LoadTokens(scratch.keys + first_key, op.heads, count, memory + kKeys);
    LoadValues(tile, first_row, count, memory + kValues);
    __syncthreads();
    if (kOutputs) WriteOutputs(tile, memory, first_row, count);
    // A group's own state is whole where somebody needs it.
    if (!kOutputs || last || end < span.end) AddTokens(memory, count, local);
    begin = end;
  }
  if (kOutputs && !last) return;
  const float scale = Power(decay, static_cast<int>(span.end - span.begin));
  float* const to =
      kOutputs ? state
               : scratch.states +
                     (chunk.first_group + group + 1) * tile.StateFloats();
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const Place at = PlaceOf(lane, j, i);
      if (!tile.InState(at.key, at.column)) continue;
      const int64_t where = tile.StateAt(at.key, at.column);
      float value = local[j][i];
      if (kOutputs) value = fmaf(scale, zero ? 0.0f : before[where], value);
      to[where] = value;
    }
  }
}

// Turns the groups' own parts, each one place further on, into the states at
// the groups' starts. A thread owns one element of the state.
__global__ void __launch_bounds__(256)
    JoinGroups(const __grid_constant__ LinearAttention op,
               const __grid_constant__ ChunkScratch scratch,
               const Chunk* chunks) {
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int groups = SpanOf(chunk, 0).groups;
  const int64_t floats = int64_t{op.heads} * op.key_dim * op.value_dim;
  const int64_t at = int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (groups == 1 || at >= floats) return;
  const int head =
      static_cast<int>(at / (int64_t{op.key_dim} * op.value_dim));
  const float decay = op.decay == nullptr ? 1.0f : op.decay[head];
  float* const states =
      scratch.states + chunk.first_group * floats + at;
  float state =
      chunk.position == 0
          ? 0.0f
          : op.state.data[chunk.slot * op.state.slot_stride + at];
  states[0] = state;
  const GroupSpan first = SpanOf(chunk, 0);
  const float first_scale =
      Power(decay, static_cast<int>(first.end - first.begin));
  const float scale = Power(decay, kStateGroup);
  constexpr int kAtOnce = 8;  // loads under way
  for (int group = 1; group < groups; group += kAtOnce) {
    float own[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      own[i] = group + i < groups ? states[(group + i) * floats] : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (group + i >= groups) break;
      state = fmaf(group + i == 1 ? first_scale : scale, state, own[i]);
      states[(group + i) * floats] = state;
    }
  }
}

}  // namespace

cudaError_t LaunchBlocks(const LinearAttention& op, const ChunkScratch& scratch,
                         const ChunkList& chunks, cudaStream_t stream) {
  const auto count = static_cast<unsigned>(chunks.count);
  LaunchShape shape;
  shape.stream = stream;
  shape.grid =
      dim3(Blocks(int64_t{chunks.longest} * op.heads * kTileKeys, 256), count);
  shape.block = dim3(256);
  cudaError_t error = Launch(shape, PrepareKeys, op, scratch, chunks.chunks);
  if (error != cudaSuccess) return error;
  LaunchShape walk;
  walk.stream = stream;
  walk.grid = dim3(static_cast<unsigned>(op.heads * ValueTiles(op.value_dim)),
                   count, static_cast<unsigned>(chunks.most_groups));
  walk.block = dim3(kBlocksThreads);
  walk.shared_bytes = kFloats * sizeof(float);
  if (chunks.most_groups > 1) {
    error = Launch(walk, AttentionGroups<false>, op, scratch, chunks.chunks);
    if (error != cudaSuccess) return error;
    shape.grid = dim3(Blocks(int64_t{op.heads} * op.key_dim * op.value_dim, 256),
                      count);
    error = Launch(shape, JoinGroups, op, scratch, chunks.chunks);
    if (error != cudaSuccess) return error;
  }
  return Launch(walk, AttentionGroups<true>, op, scratch, chunks.chunks);
}

}  // namespace chela::cuda
