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
#include "kernels/cuda/attention_block.cuh"
#include "kernels/cuda/attention_math.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

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
    both = QueryAndKey(op, op.shared.data[row * op.shared.stride + over_all],
                       LoadScales(op, over_all));
  }
  const int64_t to = (row * op.heads + head) * kTileKeys + key;
  scratch.queries[to] = both.x;
  scratch.keys[to] = both.y;
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
  const Tile tile = {op, scratch, static_cast<int>(blockIdx.x) / tiles,
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
    // All loads are under way before the first is waited for.
    StartTokens(scratch.keys + first_key, op.heads, count, memory + kKeys);
    if (kOutputs) {
      StartTokens(scratch.queries + first_key, op.heads, count,
                  memory + kQueries);
    }
    const RawValues values = LoadValues(tile, first_row, count);
    if (kOutputs) {
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
    StoreValues(values, memory + kValues);
    WaitForTokens();
    __syncthreads();
    if (kOutputs) WriteOutputs(tile, memory, first_row, count);
    // A group's own state is whole where somebody needs it.
    if (!kOutputs || last || end < span.end) AddTokens(memory, count, local);
    begin = end;
  }
  if (kOutputs && !last) return;
  const float scale = Power(decay, static_cast<int>(span.end - span.begin));
  float* const to = kOutputs
                        ? state
                        : scratch.states + (chunk.first_group + group + 1) *
                                               tile.StateFloats();
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
  const int head = static_cast<int>(at / (int64_t{op.key_dim} * op.value_dim));
  const float decay = op.decay == nullptr ? 1.0f : op.decay[head];
  float* const states = scratch.states + chunk.first_group * floats + at;
  float state = chunk.position == 0
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
    shape.grid =
        dim3(Blocks(int64_t{op.heads} * op.key_dim * op.value_dim, 256), count);
    error = Launch(shape, JoinGroups, op, scratch, chunks.chunks);
    if (error != cudaSuccess) return error;
  }
  return Launch(walk, AttentionGroups<true>, op, scratch, chunks.chunks);
}

}  // namespace chela::cuda
