// Chunks of the linear attention in groups of 256 tokens, for heads of up to 64
// keys. With n tokens of a group, S the state before it and l the decay,
//   o_t = l^(t+1) S^T q_t + sum_{s<=t} l^(t-s) (q_t . k_s) w_s
//   S'  = l^n S + sum_s l^(n-1-s) k_s w_s^T
// so that every power is at most 1 and every sum a matrix product.
//
// Groups lie at absolute positions [256 i, 256 (i+1)). A group's own part of
// the state is summed from zero, and the state at its start is added to it
// scaled; groups of one chunk therefore run in parallel, and pieces of a prompt
// that end at groups give the bits of the whole. Four kernels: queries, keys
// and scores (attention_scores.cu); the groups' own states; the states at their
// starts; outputs. Of a group alone (most chunks of a server) only the first
// and the last.
//
// Bytes at 64 x 512 a head: the values twice, the reset gates and the outputs
// once, 16 a value and token.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_group_outputs.cuh"
#include "kernels/cuda/attention_group_tile.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

// Leads the reset gates of the tile to the second-level cache, where the norm
// will find them: a row's 256 bytes by one thread.
__device__ __forceinline__ void AskForReset(const Tile& tile) {
  const int token = static_cast<int>(threadIdx.x);
  if (token >= tile.count) return;
  const float* const row =
      tile.op.reset.data + (tile.first_row + token) * tile.op.reset.stride +
      int64_t{tile.head} * tile.op.value_dim + tile.first_column;
  const int left = tile.op.value_dim - tile.first_column;
#pragma unroll
  for (int column = 0; column < kTileColumns; column += 32) {
    if (column >= left) continue;
    asm volatile("prefetch.global.L2 [%0];" ::"l"(row + column));
  }
}

// Fills the block's shared memory: the values of a group and, with kOutputs,
// the state `before` it unless that is zero. Starts with the copy of the first
// keys if `keys`.
//
// The values are older than the attention's own kernels, which start after all
// that came before them has ended: they are read and activated before the wait
// for the kernel in front.
template <bool kOutputs>
__device__ __forceinline__ TileExponents Convert(const Tile& tile,
                                                 const TileMemory& memory,
                                                 const float* before, bool zero,
                                                 bool keys) {
  const LinearAttention& op = tile.op;
  RawRows<kGroupTokens / kRoundRows> values;
  values.Load(op.value.data + tile.first_row * op.value.stride +
                  int64_t{tile.head} * op.value_dim + tile.first_column,
              op.value.stride, tile.count, op.value_dim - tile.first_column,
              MovesFours(op.value.data, op.value_dim, op.value.stride));
#pragma unroll
  for (float4& x : values.four) {
    x = make_float4(SiluOfMany(x.x), SiluOfMany(x.y), SiluOfMany(x.z),
                    SiluOfMany(x.w));
  }
  WaitForEarlier();
  if (keys) StartKeys(tile, 0, memory.Buffer(1));
  RawRows<kTileKeys / kRoundRows> state;
  if (kOutputs && !zero) {
    state.Load(before + tile.StateAt(0, 0), op.value_dim, op.key_dim,
               op.value_dim - tile.first_column,
               MovesFours(before, op.value_dim, op.value_dim));
  }
  const int warp = static_cast<int>(threadIdx.x) / 32;
  uint32_t largest[2] = {values.Largest(),
                         kOutputs && !zero ? state.Largest() : 0};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    memory.largest[i * kGroupWarps + warp] =
        __reduce_max_sync(kWholeWarp, largest[i]);
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    largest[i] = 0;
    for (int j = 0; j < kGroupWarps; ++j) {
      largest[i] = max(largest[i], memory.largest[i * kGroupWarps + j]);
    }
  }
  const TileExponents exponents = {ExponentOf(largest[0]),
                                   ExponentOf(largest[1])};
  values.Store(memory.values, PowerOfTwo(kHalfExponent - exponents.values));
  if (kOutputs && !zero) {
    state.Store(memory.Buffer(0), PowerOfTwo(kHalfExponent - exponents.state));
  }
  return exponents;
}

// Outputs of the whole group: a warp has a row tile of the first half and its
// counterpart of the second, which is as much work for every warp.
__device__ __forceinline__ void WriteOutputs(const Tile& tile,
                                             const TileMemory& memory,
                                             const TileExponents& exponents,
                                             bool zero,
                                             const HeadCluster& cluster) {
  const FragmentLane lane;
  const int warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll 1
  for (int i = 0; i < 2; ++i) {
    const int first = kRowTile * (i == 0 ? warp : 2 * kGroupWarps - 1 - warp);
    if (first >= tile.count) break;
    float squares[2];
    WriteRowTile(tile, memory, exponents, zero, first, squares);
    if (cluster.size == 0) continue;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      cluster.Put(memory.squares + cluster.rank() * kGroupTokens + first +
                      lane.row + 8 * half,
                  squares[half], lane.pair, 4);
    }
  }
}

// A block of threads owns 64 columns of a head of one group of one chunk.
// Without kOutputs it leaves the group's own part of the state for JoinGroups,
// which is not needed of a chunk's last group.
template <bool kOutputs>
__global__ void __launch_bounds__(kGroupThreads, 2)
    AttentionGroups(const __grid_constant__ LinearAttention op,
                    const __grid_constant__ ChunkScratch scratch,
                    const Chunk* chunks, int cluster_size) {
  extern __shared__ float4 aligned_memory[];
  const TileMemory memory(aligned_memory);
  if (!kOutputs) LetLaterStart();
  const Chunk chunk = chunks[blockIdx.y];
  // Outputs from the end: the second-level cache has the last groups' values.
  const auto group =
      static_cast<int>(kOutputs ? gridDim.z - 1 - blockIdx.z : blockIdx.z);
  const GroupSpan span = SpanOf(chunk, group);
  const bool last = group == span.groups - 1;
  if (group >= span.groups || (!kOutputs && last)) return;
  const HeadCluster cluster = {kOutputs ? cluster_size : 0};
  cluster.TellStart();
  const int across = cluster.size > 0 ? cluster.size : ValueTiles(op.value_dim);
  Tile tile = {op, scratch};
  tile.head = static_cast<int>(blockIdx.x) / across;
  tile.first_column = static_cast<int>(blockIdx.x) % across * kTileColumns;
  tile.first_row = chunk.first_row + (span.begin - chunk.position);
  tile.place = PlaceOf(scratch, static_cast<int>(blockIdx.y), group,
                       tile.first_row, tile.head);
  tile.count = span.count();
  if (cluster.size > 0) AskForReset(tile);
  float* const own_state = op.state.data + chunk.slot * op.state.slot_stride;
  float* const states =
      scratch.states + (chunk.first_group + group) * tile.StateFloats();
  const float* const before = span.groups == 1 ? own_state : states;
  const bool zero = group == 0 && chunk.position == 0;
  WritePowers(op.decay == nullptr ? 1.0f : op.decay[tile.head], memory.powers);
  const TileExponents exponents =
      Convert<kOutputs>(tile, memory, before, zero, !kOutputs || last);
  cluster.Wait();  // the others' memory is there
  __syncthreads();
  if (kOutputs) WriteOutputs(tile, memory, exponents, zero, cluster);
  cluster.Tell();
  if (!kOutputs || last) {
    const OwnState own =
        SumState(tile, memory, PowerOfTwo(exponents.values - kHalfExponent));
    float* const to = kOutputs ? own_state : states + tile.StateFloats();
    own.ForEach([&](int key, int column, float sum) {
      if (!tile.InState(key, column)) return;
      const int64_t at = tile.StateAt(key, column);
      to[at] = kOutputs ? fmaf(memory.powers[tile.count],
                               zero ? 0.0f : before[at], sum)
                        : sum;
    });
  }
  cluster.Wait();
  if (cluster.size > 0) GateGroup(tile, memory, cluster.size);
}

// Turns the groups' own parts, each one place further on, into the states at
// the groups' starts. A thread owns one element of the state.
__global__ void __launch_bounds__(256)
    JoinGroups(const __grid_constant__ LinearAttention op,
               const __grid_constant__ ChunkScratch scratch,
               const Chunk* chunks) {
  WaitForEarlier();
  LetLaterStart();
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
  constexpr int kAtOnce = 16;  // loads under way
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
  LaunchShape walk;
  walk.stream = stream;
  walk.overlap = clusters;
  walk.grid = dim3(static_cast<unsigned>(op.heads * ValueTiles(op.value_dim)),
                   count, static_cast<unsigned>(chunks.most_groups));
  walk.block = dim3(kGroupThreads);
  walk.shared_bytes = TileMemory::kBytes;
  if (chunks.most_groups > 1) {
    error = Launch(walk, AttentionGroups<false>, op, scratch, chunks.chunks, 0);
    if (error != cudaSuccess) return error;
    LaunchShape join;
    join.stream = stream;
    join.overlap = clusters;
    join.block = dim3(256);
    join.grid =
        dim3(Blocks(int64_t{op.heads} * op.key_dim * op.value_dim, 256), count);
    error = Launch(join, JoinGroups, op, scratch, chunks.chunks);
    if (error != cudaSuccess) return error;
  }
  int cluster = 0;
  if (GatesInBlocks(op, clusters)) {
    cluster = ClusterOf(op.value_dim);
    walk.cluster = cluster;
    walk.grid.x = static_cast<unsigned>(op.heads * cluster);
  }
  return Launch(walk, AttentionGroups<true>, op, scratch, chunks.chunks,
                cluster);
}

}  // namespace chela::cuda
