#ifndef CHELA_KERNELS_CUDA_DRAW_H_
#define CHELA_KERNELS_CUDA_DRAW_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/draw.h"

namespace chela::cuda {

// Draw, with everything in device memory.
struct DrawRows {
  float* logits = nullptr;  // [count, vocab]
  int32_t vocab = 0;
  const int32_t* count = nullptr;  // rows that exist
  const DrawRule* rules = nullptr;
  // The rules' lists, which are overwritten.
  TokenBias* biases = nullptr;
  TokenCount* counts = nullptr;
  int32_t* tokens = nullptr;
};
cudaError_t LaunchDraw(const DrawRows& op, int32_t max_rows, bool clusters,
                       bool overlap, cudaStream_t stream);

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_DRAW_H_
