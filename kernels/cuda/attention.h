#ifndef CHELA_KERNELS_CUDA_ATTENTION_H_
#define CHELA_KERNELS_CUDA_ATTENTION_H_

#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/rounded_out.h"
#include "kernels/cuda/step_rows.h"
#include "kernels/embedding.h"
#include "kernels/linear_attention.h"

namespace chela::cuda {

// The linear attention of decode rows: one read and one write of each state.
//
// Order of the sums: a column of o adds keys
// 4 g .. 4 g + 3 (and 64 further on, 128 ..) in one thread, then g = 0 .. 15 in
// order; the norm adds the squares of 64 columns by one warp's tree, then those
// tiles in an order that the width alone decides.
cudaError_t LaunchDecode(const LinearAttention& op, const RoundedOut& copy,
                         const DecodeRows& rows, int32_t max_rows,
                         int32_t processors, bool clusters, bool overlap,
                         cudaStream_t stream);

// The same with replay (kernels/attention_replay.h): one read of each state,
// and a write where a period ends. The sums add the entries of the ring after
// the keys, one after the other.
cudaError_t LaunchReplay(const LinearAttention& op, const RoundedOut& copy,
                         const DecodeRows& rows, int32_t max_rows,
                         int32_t processors, bool clusters, bool overlap,
                         cudaStream_t stream);
// Before a chunk with replay: adds the ring to the state and empties it.
cudaError_t LaunchEmptyRings(const LinearAttention& op, const ChunkList& chunks,
                             cudaStream_t stream);

// Chunks: up to 64 keys a head in groups of 256 tokens (attention_blocks.cu),
// wider heads token after token.
inline constexpr int32_t kBlockKeys = 64;  // of a head at most

// Working memory of the blocks; not needed by wider heads. A head's tokens
// stand together, those of a chunk's first group and of its later ones from
// places of their own (PlaceOf), so that each can fill its last row tile of 16.
// Two halves (tensor_half.cuh) stand for a float.
struct ChunkScratch {
  int64_t rows = 0;           // places of a head
  __half* queries = nullptr;  // [heads, rows / 16] row tiles of 4 fragments
  // [heads, rows, 2, 64]: decayed phi(k), high and low (WriteKeys).
  __half* keys = nullptr;
  // [heads, rows / 16] row tiles of 8 fragments: decayed phi(q) . phi(k) with
  // the tokens of the half group; those after the row tile are not there.
  __half* scores = nullptr;
  float4* scales = nullptr;  // [heads, rows], see WriteRows
  // [groups of the step, heads, BlocksOfHead]: of SiLU of a tile's values.
  int32_t* exponents = nullptr;
  // [groups of the step + chunks, heads, key_dim, value_dim]: at the start of
  // each group of a chunk, and one place more.
  float* states = nullptr;
  // [groups of the step, heads, key_dim, value_dim]: the own part of the first
  // half of each group that has more.
  float* halves = nullptr;
};
inline constexpr int32_t kHalfGroup = kStateGroup / 2;
// Places of a head for the chunks of a step.
int64_t ScratchRows(int64_t rows, const ChunkList& chunks);
bool InBlocks(const LinearAttention& op);
cudaError_t LaunchChunks(const LinearAttention& op, const ChunkScratch& scratch,
                         const ChunkList& chunks, bool clusters,
                         cudaStream_t stream);
// Blocks that share a head's columns, 64 each.
int BlocksOfHead(const LinearAttention& op, bool clusters);
// Whether LaunchBlocks norms and gates too: where a head's columns fit a
// cluster.
bool GatesInBlocks(const LinearAttention& op, bool clusters);
// Outputs (before norm and gate if not GatesInBlocks) and states.
cudaError_t LaunchBlocks(const LinearAttention& op, const ChunkScratch& scratch,
                         const ChunkList& chunks, bool clusters,
                         cudaStream_t stream);
// Its first part: fills queries, keys, scores and scales.
cudaError_t LaunchScores(const LinearAttention& op, const ChunkScratch& scratch,
                         const ChunkList& chunks, cudaStream_t stream);

// out[row] = table[token of row] * multiplier; `tokens` in device memory.
// `count` is the number of rows that exist, at most max_rows. The first kernel
// of a step: it never starts early.
struct EmbeddingRows {
  const void* table = nullptr;
  DType dtype = DType::kF32;
  int32_t width = 0;
  int32_t stride = 0;
  float multiplier = 1.0f;
  const int32_t* tokens = nullptr;
  const int32_t* count = nullptr;
  float* out = nullptr;
};
cudaError_t LaunchEmbedding(const EmbeddingRows& op, int32_t max_rows,
                            cudaStream_t stream);

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ATTENTION_H_
