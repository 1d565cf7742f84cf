// The part of a chunk that one phase of the explicit convolution has.
#ifndef CHELA_KERNELS_CUDA_EXPLICIT_CHUNK_CUH_
#define CHELA_KERNELS_CUDA_EXPLICIT_CHUNK_CUH_

#include "kernels/cuda/explicit_parts.h"
#include "kernels/cuda/explicit_state.cuh"

namespace chela::cuda {

struct ChunkPart : TauRange {
  int64_t row = 0;  // of the activations, that of `start`
};

__device__ __forceinline__ ChunkPart PartOf(const ExplicitView& view,
                                            const Chunk& chunk, int64_t origin,
                                            int phase) {
  const int64_t first = chunk.position + origin;
  const TauRange tokens = {first, first + chunk.rows};
  const ChunkPart part = {PartOf(view, tokens, origin, phase)};
  return {part, chunk.first_row + part.start - first};
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_EXPLICIT_CHUNK_CUH_
