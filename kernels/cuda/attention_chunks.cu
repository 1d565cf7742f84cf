// Chunks of the linear attention, and the embedding.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_math.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr int kTokens = 8;  // between two barriers

// Heads of more than 64 keys: a block owns one tile of 64 value columns of one
// head of one chunk and walks through its tokens, kTokens between barriers. The
// state passes through memory at every token.
//
// Leaves o, which GateChunks norms and gates, since a head's columns lie in
// several blocks.
__global__ void __launch_bounds__(kTileThreads)
    WideHeads(const __grid_constant__ LinearAttention op, const Chunk* chunks) {
  extern __shared__ float memory[];
  __shared__ float parts[kTokens][kKeyGroups][kTileColumns];
  __shared__ float w_of[kTokens][kTileColumns];
  float* const q_of = memory;                       // [kTokens, key_dim]
  float* const k_of = q_of + kTokens * op.key_dim;  // likewise
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int tiles = ValueTiles(op.value_dim);
  const int head = static_cast<int>(blockIdx.x) / tiles;
  const int tile_index = static_cast<int>(blockIdx.x) % tiles;
  const int thread = static_cast<int>(threadIdx.x);
  const int g = thread / (kTileColumns / 4);
  const int c = thread % (kTileColumns / 4);
  TileShape shape;
  shape.keys = op.key_dim;
  shape.columns = op.value_dim;
  shape.aligned = StateAligned(op);
  shape.first_key = 4 * g;
  shape.first_column = tile_index * kTileColumns + 4 * c;
  float* const state = op.state.data + chunk.slot * op.state.slot_stride +
                       int64_t{head} * op.key_dim * op.value_dim;
  const float decay = op.decay == nullptr ? 1.0f : op.decay[head];
  const bool fresh = chunk.position == 0;
  for (int first = 0; first < chunk.rows; first += kTokens) {
    const int count = min(kTokens, chunk.rows - first);
    for (int i = thread; i < count * op.key_dim; i += kTileThreads) {
      const int64_t row = chunk.first_row + first + i / op.key_dim;
      const int key = head * op.key_dim + i % op.key_dim;
      const float2 both =
          QueryAndKey(op, op.shared.data[row * op.shared.stride + key],
                      LoadScales(op, key));
      q_of[i] = both.x;
      k_of[i] = both.y;
    }
    for (int i = thread; i < count * kTileColumns; i += kTileThreads) {
      const int64_t row = chunk.first_row + first + i / kTileColumns;
      const int column = tile_index * kTileColumns + i % kTileColumns;
      w_of[i / kTileColumns][i % kTileColumns] =
          column < op.value_dim
              ? Silu(op.value.data[row * op.value.stride + head * op.value_dim +
                                   column])
              : 0.0f;
    }
    __syncthreads();
    for (int token = 0; token < count; ++token) {
      float w[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) w[j] = w_of[token][4 * c + j];
      float sums[4] = {};
      for (int key = 0; key < op.key_dim; key += kTileKeys) {
        shape.first_key = key + 4 * g;
        StateTile tile =
            fresh && first + token == 0 ? StateTile{} : shape.Load(state);
        float keys[4];
        float queries[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const bool in = shape.first_key + i < op.key_dim;
          const int at = token * op.key_dim + shape.first_key + i;
          keys[i] = in ? k_of[at] : 0.0f;
          queries[i] = in ? q_of[at] : 0.0f;
        }
        Advance(tile, decay, keys, queries, w, sums);
        shape.Store(tile, state);
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) parts[token][g][4 * c + j] = sums[j];
    }
    __syncthreads();
    for (int i = thread; i < count * kTileColumns; i += kTileThreads) {
      const int token = i / kTileColumns;
      const int column = tile_index * kTileColumns + i % kTileColumns;
      if (column >= op.value_dim) continue;
      float sum = 0;
#pragma unroll
      for (int j = 0; j < kKeyGroups; ++j) {
        sum += parts[token][j][i % kTileColumns];
      }
      const int64_t row = chunk.first_row + first + token;
      op.out[(row * op.heads + head) * op.value_dim + column] = sum;
    }
    // The next round's loads touch neither parts nor what is read from them
    // before its first barrier.
  }
}

// A warp norms and gates one head of one row of a chunk, in place.
__global__ void __launch_bounds__(128)
    GateChunks(const __grid_constant__ LinearAttention op, const Chunk* chunks,
               int cluster_size) {
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int64_t index =
      int64_t{blockIdx.x} * 4 + static_cast<int>(threadIdx.x) / 32;
  if (index >= int64_t{chunk.rows} * op.heads) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t row = chunk.first_row + index / op.heads;
  const int head = static_cast<int>(index % op.heads);
  float* const o = op.out + (row * op.heads + head) * op.value_dim;
  const int tiles = ValueTiles(op.value_dim);
  float all = 0;
  for (int rank = 0; rank < cluster_size; ++rank) {
    float squares = 0;
    for (int tile = rank; tile < tiles; tile += cluster_size) {
      const int low = tile * kTileColumns + lane;
      squares += TileSquares(low < op.value_dim ? o[low] : 0.0f,
                             low + 32 < op.value_dim ? o[low + 32] : 0.0f);
    }
    all += squares;
  }
  const float scale = HeadScale(op, all);
  for (int column = lane; column < op.value_dim; column += 32) {
    const int over_all = head * op.value_dim + column;
    o[column] =
        Gate(o[column], scale, op.reset.data[row * op.reset.stride + over_all],
             op.norm_weight[over_all]);
  }
}

// A block copies one row.
template <typename T>
__global__ void __launch_bounds__(256)
    Embed(const __grid_constant__ EmbeddingRows op) {
  const int64_t row = blockIdx.x;
  if (row >= *op.count) return;
  const T* from =
      static_cast<const T*>(op.table) + int64_t{op.tokens[row]} * op.stride;
  for (int j = static_cast<int>(threadIdx.x); j < op.width; j += 256) {
    op.out[row * op.width + j] = static_cast<float>(from[j]) * op.multiplier;
  }
}

}  // namespace

bool InBlocks(const LinearAttention& op) { return op.key_dim <= kBlockKeys; }

cudaError_t LaunchChunks(const LinearAttention& op, const ChunkScratch& scratch,
                         const ChunkList& chunks, bool clusters,
                         cudaStream_t stream) {
  LaunchShape shape;
  shape.stream = stream;
  cudaError_t error = cudaSuccess;
  if (InBlocks(op)) {
    error = LaunchBlocks(op, scratch, chunks, clusters, stream);
    if (GatesInBlocks(op, clusters)) return error;
  } else {
    shape.grid =
        dim3(static_cast<unsigned>(op.heads * ValueTiles(op.value_dim)),
             static_cast<unsigned>(chunks.count));
    shape.block = dim3(kTileThreads);
    shape.shared_bytes =
        static_cast<size_t>(2 * kTokens) * op.key_dim * sizeof(float);
    error = Launch(shape, WideHeads, op, chunks.chunks);
  }
  if (error != cudaSuccess) return error;
  shape.grid = dim3(Blocks(int64_t{chunks.longest} * op.heads, 4),
                    static_cast<unsigned>(chunks.count));
  shape.block = dim3(128);
  shape.shared_bytes = 0;
  return Launch(shape, GateChunks, op, chunks.chunks,
                clusters ? ClusterOf(op.value_dim) : 1);
}

cudaError_t LaunchEmbedding(const EmbeddingRows& op, int32_t max_rows,
                            cudaStream_t stream) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(max_rows));
  shape.block = dim3(256);
  shape.stream = stream;
  switch (op.dtype) {
    case DType::kF32:
      return Launch(shape, Embed<float>, op);
    case DType::kBF16:
      return Launch(shape, Embed<__nv_bfloat16>, op);
    case DType::kF16:
      return Launch(shape, Embed<__half>, op);
    case DType::kI8:
      break;  // no such matrix is made here
  }
  return cudaErrorInvalidValue;
}

}  // namespace chela::cuda
