// The part of a chunk that one phase of the explicit convolution has.
#ifndef CHELA_KERNELS_CUDA_EXPLICIT_CHUNK_CUH_
#define CHELA_KERNELS_CUDA_EXPLICIT_CHUNK_CUH_

#include "kernels/cuda/explicit_state.cuh"

namespace chela::cuda {

// Tokens [start, end) of a group's time, in one period of the ring, end at most
// its end.
struct ChunkPart {
  int64_t start = 0;
  int64_t end = 0;
  int64_t row = 0;  // of the activations, that of `start`
};

// Empty (end <= start) if the phase has no token of this chunk.
__device__ __forceinline__ ChunkPart PartOf(const ExplicitView& view,
                                            const Chunk& chunk, int64_t origin,
                                            int phase) {
  const int64_t first = chunk.position + origin;
  const int64_t period = (first >> view.log_ring) + phase;
  ChunkPart part;
  part.start = max(first, period << view.log_ring);
  part.end = min(first + chunk.rows, (period + 1) << view.log_ring);
  part.row = chunk.first_row + part.start - first;
  return part;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_EXPLICIT_CHUNK_CUH_
