#ifndef CHELA_KERNELS_CUDA_STEP_ROWS_H_
#define CHELA_KERNELS_CUDA_STEP_ROWS_H_

#include <cstdint>

namespace chela::cuda {

// Rows of a step as kernels see them, in device memory. A segment of one token
// is a decode row, a longer one a chunk: that depends on its own request only,
// so which kernel serves a row never depends on the load.
struct DecodeRows {
  // Rows that exist. The grid may be larger, and the lists are as long as it:
  // what stands in them beyond `count` may be read and means nothing.
  const int32_t* count = nullptr;
  const int32_t* rows = nullptr;       // [count], of the activations
  const int32_t* slots = nullptr;      // [count]
  const int64_t* positions = nullptr;  // [count]
};

// Tokens at absolute positions [256 i, 256 (i+1)) whose part of an attention
// state is summed apart. The scheduler's chunks end there.
inline constexpr int32_t kStateGroup = 256;

struct Chunk {
  int64_t position = 0;  // of its first token
  int32_t slot = 0;
  int32_t first_row = 0;
  int32_t rows = 0;
  int32_t first_group = 0;  // its first one's place among those of all chunks
};

// The chunks of a step.
struct ChunkList {
  const Chunk* chunks = nullptr;  // in device memory
  const Chunk* host = nullptr;    // the same in host memory
  int32_t count = 0;
  int32_t longest = 0;      // rows
  int32_t most_groups = 0;  // of one chunk
  int32_t groups = 0;       // of all chunks
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_STEP_ROWS_H_
