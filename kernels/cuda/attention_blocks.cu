// Chunks of the linear attention in groups of 256 tokens, for heads of up to 64
// keys. With n tokens of a group, S the state before it and l the decay,
//   o_t = l^(t+1) S^T q_t + sum_{s<=t} l^(t-s) (q_t . k_s) w_s
//   S'  = l^n S + sum_s l^(n-1-s) k_s w_s^T
// so that every power is at most 1 and every sum a matrix product.
//
// Groups lie at absolute positions [256 i, 256 (i+1)). A group's own part of
// the state is summed from zero, and the state at its start is added to it
// scaled; groups of one chunk therefore run in parallel, and pieces of a prompt
// that end at groups give the bits of the whole. Outputs of a group's second
// half start from the first half's own part, which the sums give on their way.
// Four kernels: queries, keys and scores (attention_scores.cu); the groups' own
// states; the states at their starts; outputs. Groups alone (most chunks of a
// server) do without the third.
//
// Bytes at 64 x 512 a head: the values twice, the reset gates and the outputs
// once, 16 a value and token.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_group_outputs.cuh"
#include "kernels/cuda/attention_group_tile.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

// Leads the reset gates of the block's tokens to the second-level cache, where
// the norm will find them: a row's 128 bytes by one thread.
__device__ __forceinline__ void AskForReset(const Tile& tile, int begin) {
  const int token = begin + static_cast<int>(threadIdx.x) / 2;
  const int column = static_cast<int>(threadIdx.x) % 2 * 32;
  if (token >= tile.count || tile.first_column + column >= tile.op.value_dim) {
    return;
  }
  const float* const row =
      tile.op.reset.data + (tile.first_row + token) * tile.op.reset.stride +
      int64_t{tile.head} * tile.op.value_dim + tile.first_column;
  asm volatile("prefetch.global.L2 [%0];" ::"l"(row + column));
}

// SiLU of a thread's values of kTokens tokens from `begin` on.
//
// The values are older than the attention's own kernels, which start after all
// that came before them has ended: they are read and activated before the wait
// for the kernel in front.
template <int kTokens, int kThreads>
__device__ __forceinline__ RawRows<kTokens, kThreads> LoadValues(
    const Tile& tile, int begin) {
  const LinearAttention& op = tile.op;
  RawRows<kTokens, kThreads> values;
  values.Load(op.value.data + (tile.first_row + begin) * op.value.stride +
                  int64_t{tile.head} * op.value_dim + tile.first_column,
              op.value.stride, tile.count - begin,
              op.value_dim - tile.first_column,
              MovesFours(op.value.data, op.value_dim, op.value.stride));
#pragma unroll
  for (float4& x : values.four) {
    x = make_float4(SiluOfMany(x.x), SiluOfMany(x.y), SiluOfMany(x.z),
                    SiluOfMany(x.w));
  }
  return values;
}

// Fills the block's shared memory with the group's values. Starts with the copy
// of the first keys.
__device__ __forceinline__ int ConvertValues(const Tile& tile,
                                             const TileMemory& memory) {
  const auto values = LoadValues<kGroupTokens, kGroupThreads>(tile, 0);
  WaitForEarlier();
  StartFirstKeys(tile, memory);
  const int exponent =
      BlockExponent<kGroupWarps>(values.Largest(), memory.largest);
  values.Store(memory.values, PowerOfTwo(kHalfExponent - exponent));
  return exponent;
}

// A block of threads owns 64 columns of a head of one group of one chunk: its
// values for the outputs, and its own part of the state for JoinGroups. Of a
// group alone, the state before and after it.
__global__ void __launch_bounds__(kGroupThreads, 2)
    PrepareGroups(const __grid_constant__ LinearAttention op,
                  const __grid_constant__ ChunkScratch scratch,
                  const Chunk* chunks, int across) {
  extern __shared__ float4 aligned_memory[];
  const TileMemory memory(aligned_memory);
  LetLaterStart();
  const Chunk chunk = chunks[blockIdx.y];
  const auto group = static_cast<int>(blockIdx.z);
  const GroupSpan span = SpanOf(chunk, group);
  if (group >= span.groups) return;
  const Tile tile(op, scratch, chunk, group, span, across);
  WritePowers(op.decay == nullptr ? 1.0f : op.decay[tile.head], memory.powers);
  const int exponent = ConvertValues(tile, memory);
  __syncthreads();
  if (threadIdx.x == 0) scratch.exponents[tile.index] = exponent;
  float* const halves =
      scratch.halves + int64_t{chunk.first_group + group} * StateFloats(op);
  const OwnState own =
      SumState(tile, memory, PowerOfTwo(exponent - kHalfExponent),
               [&](const OwnState& half) {
                 half.ForEach([&](int key, int column, float sum) {
                   if (!tile.InState(key, column)) return;
                   halves[tile.StateAt(key, column)] = sum;
                 });
               });
  float* const states =
      StatesOf(op, scratch, chunk) + int64_t{group} * StateFloats(op);
  float* const whole = op.state.data + chunk.slot * op.state.slot_stride;
  const bool alone = span.groups == 1;
  const bool zero = chunk.position == 0;
  own.ForEach([&](int key, int column, float sum) {
    if (!tile.InState(key, column)) return;
    const int64_t at = tile.StateAt(key, column);
    if (!alone) {
      states[StateFloats(op) + at] = sum;
      return;
    }
    const float before = zero ? 0.0f : whole[at];
    states[at] = before;
    whole[at] = fmaf(memory.powers[tile.count], before, sum);
  });
}

// A block of threads owns 64 columns of a head of half a group of one chunk.
__global__ void __launch_bounds__(kOutputThreads, 2)
    WriteOutputs(const __grid_constant__ LinearAttention op,
                 const __grid_constant__ ChunkScratch scratch,
                 const Chunk* chunks, int across, int cluster_size) {
  extern __shared__ float4 aligned_memory[];
  const OutputMemory memory(aligned_memory);
  const Chunk chunk = chunks[blockIdx.y];
  // From the end: the second-level cache has the last groups' values, and
  // second halves are more work.
  const auto part = static_cast<int>(gridDim.z - 1 - blockIdx.z);
  const int group = part / 2;
  const int begin = part % 2 * kHalfTokens;
  const GroupSpan span = SpanOf(chunk, group);
  if (group >= span.groups || begin >= span.count()) return;
  const HeadCluster cluster = {cluster_size};
  cluster.TellStart();
  const Tile tile(op, scratch, chunk, group, span, across);
  if (cluster.size > 0) AskForReset(tile, begin);
  WritePowers(op.decay == nullptr ? 1.0f : op.decay[tile.head], memory.powers);
  const auto values = LoadValues<kHalfTokens, kOutputThreads>(tile, begin);
  WaitForEarlier();
  // As much work for each four warps of a scheduler.
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int first = begin + kRowTile * (warp < kOutputWarps / 2
                                            ? warp
                                            : 3 * kOutputWarps / 2 - 1 - warp);
  const bool zero = part == 0 && chunk.position == 0;
  FragmentRing ring(tile, memory, zero, first);
  RowOutputs rows(tile, first);
  TileExponents exponents;
  exponents.values = scratch.exponents[tile.index];
  values.Store(memory.values, PowerOfTwo(kHalfExponent - exponents.values));
  if (!zero) {
    exponents.state = ConvertState(
        tile, memory,
        StatesOf(op, scratch, chunk) + int64_t{group} * StateFloats(op),
        begin == 0 ? nullptr
                   : scratch.halves +
                         int64_t{chunk.first_group + group} * StateFloats(op));
  }
  cluster.Wait();  // the others' memory is there
  __syncthreads();
  if (first < tile.count) {
    WarpSums<8> sums;
    if (!zero) SumQueries(memory, exponents, rows, &ring, &sums);
    float squares[2];
    SumScores(memory, exponents, first, &ring, &sums, &rows, squares);
    PutSquares(memory, rows, squares, cluster);
  }
  cluster.Tell();
  StoreRows(tile, memory, rows, cluster);
}

// Turns the groups' own parts, each one place further on, into the states at
// the groups' starts and at the chunk's end. A thread owns one element of the
// state.
__global__ void __launch_bounds__(256)
    JoinGroups(const __grid_constant__ LinearAttention op,
               const __grid_constant__ ChunkScratch scratch,
               const Chunk* chunks) {
  WaitForEarlier();
  LetLaterStart();
  const Chunk chunk = chunks[blockIdx.y];
  const int groups = SpanOf(chunk, 0).groups;
  const int64_t floats = StateFloats(op);
  const int64_t at = int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (groups == 1 || at >= floats) return;
  const int head = static_cast<int>(at / (int64_t{op.key_dim} * op.value_dim));
  const float decay = op.decay == nullptr ? 1.0f : op.decay[head];
  float* const states = StatesOf(op, scratch, chunk) + at;
  float* const whole = op.state.data + chunk.slot * op.state.slot_stride + at;
  float state = chunk.position == 0 ? 0.0f : *whole;
  states[0] = state;
  const float first_scale = Power(decay, SpanOf(chunk, 0).count());
  const float scale = Power(decay, kStateGroup);
  const float last_scale = Power(decay, SpanOf(chunk, groups - 1).count());
  constexpr int kAtOnce = 16;  // loads under way
  for (int group = 0; group < groups; group += kAtOnce) {
    float own[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      own[i] = group + i < groups ? states[(group + i + 1) * floats] : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (group + i >= groups) break;
      const bool last = group + i == groups - 1;
      state = fmaf(group + i == 0 ? first_scale
                   : last         ? last_scale
                                  : scale,
                   state, own[i]);
      *(last ? whole : states + (group + i + 1) * floats) = state;
    }
  }
}

}  // namespace

int BlocksOfHead(const LinearAttention& op, bool clusters) {
  return GatesInBlocks(op, clusters) ? ClusterOf(op.value_dim)
                                     : ValueTiles(op.value_dim);
}

bool GatesInBlocks(const LinearAttention& op, bool clusters) {
  const int tiles = ValueTiles(op.value_dim);
  return tiles == 1 || (clusters && tiles <= kMaxCluster);
}

cudaError_t LaunchBlocks(const LinearAttention& op, const ChunkScratch& scratch,
                         const ChunkList& chunks, bool clusters,
                         cudaStream_t stream) {
  cudaError_t error = LaunchScores(op, scratch, chunks, stream);
  if (error != cudaSuccess) return error;
  const auto count = static_cast<unsigned>(chunks.count);
  const auto groups = static_cast<unsigned>(chunks.most_groups);
  const int across = BlocksOfHead(op, clusters);
  LaunchShape walk;
  walk.stream = stream;
  walk.overlap = clusters;
  walk.grid = dim3(static_cast<unsigned>(op.heads * across), count, groups);
  walk.block = dim3(kGroupThreads);
  walk.shared_bytes = TileMemory::kBytes;
  error = Launch(walk, PrepareGroups, op, scratch, chunks.chunks, across);
  if (error != cudaSuccess) return error;
  if (groups > 1) {
    LaunchShape join;
    join.stream = stream;
    join.overlap = clusters;
    join.block = dim3(256);
    join.grid =
        dim3(Blocks(int64_t{op.heads} * op.key_dim * op.value_dim, 256), count);
    error = Launch(join, JoinGroups, op, scratch, chunks.chunks);
    if (error != cudaSuccess) return error;
  }
  const bool gates = GatesInBlocks(op, clusters);
  if (gates) walk.cluster = across;
  walk.grid.z = 2 * groups;
  walk.block = dim3(kOutputThreads);
  walk.shared_bytes = OutputMemory::kBytes;
  return Launch(walk, WriteOutputs, op, scratch, chunks.chunks, across,
                gates ? across : 0);
}

}  // namespace chela::cuda
