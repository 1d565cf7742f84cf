#ifndef CHELA_KERNELS_CUDA_STEP_ROWS_H_
#define CHELA_KERNELS_CUDA_STEP_ROWS_H_

#include <cstdint>

namespace chela::cuda {

// Rows of a step as kernels see them, in device memory. A segment of one token
// is a decode row, a longer one a chunk: that depends on its own request only,
// so which kernel serves a row never depends on the load.
struct DecodeRows {
  const int32_t* count = nullptr;  // rows that exist; the grid may be larger
  const int32_t* rows = nullptr;   // [count], of the activations
  const int32_t* slots = nullptr;  // [count]
  const int64_t* positions = nullptr;  // [count]
};

struct Chunk {
  int64_t position = 0;  // of its first token
  int32_t slot = 0;
  int32_t first_row = 0;
  int32_t rows = 0;
  int32_t unused = 0;
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_STEP_ROWS_H_
