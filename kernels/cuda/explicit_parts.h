// How chunks of the explicit convolution are cut, alike on host and device.
#ifndef CHELA_KERNELS_CUDA_EXPLICIT_PARTS_H_
#define CHELA_KERNELS_CUDA_EXPLICIT_PARTS_H_

#include "kernels/cuda/explicit_convolution.h"

namespace chela::cuda {

// How many blocks apart two may lie that meet, counting 0.
__host__ __device__ inline int BlockDistances(const ExplicitView& view) {
  return view.by_blocks ? (view.ring >> kLogBlock) + 1 : 0;
}

// Tokens [start, end) of a group's time.
struct TauRange {
  int64_t start = 0;
  int64_t end = 0;
};

// Whether tokens fill all of their first block that is their sequence's, which
// begins at `origin`.
__host__ __device__ inline bool FillFirstBlock(const TauRange& tokens,
                                               int64_t origin) {
  return (tokens.start == origin || (tokens.start & (kBlock - 1)) == 0) &&
         tokens.end >= (tokens.start & -int64_t{kBlock}) + kBlock;
}

// The part of a chunk that a phase has (explicit_convolution.h), in one period
// of the ring or one block; empty (end <= start) if it has none.
__host__ __device__ inline TauRange PartOf(const ExplicitView& view,
                                           const TauRange& chunk,
                                           int64_t origin, int phase) {
  TauRange part = chunk;
  if (!view.by_blocks) {
    const int64_t period = ((chunk.start >> view.log_ring) + phase)
                           << view.log_ring;
    if (part.start < period) part.start = period;
    if (part.end > period + view.ring) part.end = period + view.ring;
    return part;
  }
  const int64_t first_cut = (chunk.start & -int64_t{kBlock}) + kBlock;
  const int64_t last_cut = chunk.end & -int64_t{kBlock};
  if (phase == 0) {
    if (part.end > first_cut) part.end = first_cut;
    if (FillFirstBlock(chunk, origin)) part.end = part.start;
  } else {
    part.start = last_cut;
    if (phase > 1 || last_cut < first_cut) part.end = part.start;
  }
  return part;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_EXPLICIT_PARTS_H_
