// What a chunk of the hierarchical convolution reads of its past and of itself:
// level 0's last B inputs before the chunk, and of every level j the blocks
// from the ring's oldest, (p >> j) - B with p the chunk's first position, to
// the newest that enters the ring during the chunk. It is whole before the
// outputs are made, so none of them reads the state while another writes it.
#ifndef CHELA_KERNELS_CUDA_HIERARCHICAL_HISTORY_CUH_
#define CHELA_KERNELS_CUDA_HIERARCHICAL_HISTORY_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/step_rows.h"
#include "kernels/long_convolution.h"

namespace chela::cuda {

// Rows of history that a chunk may need beside one a token.
inline __host__ __device__ int64_t
HistoryRows(const HierarchicalConvolution& op) {
  return op.base_length + int64_t{op.levels} * (op.base_length / 2 + 2);
}

// One channel of one chunk.
struct History {
  const HierarchicalConvolution& op;
  const Chunk& chunk;
  int channel = 0;
  float* data = nullptr;  // of the chunk

  __device__ History(const HierarchicalConvolution& the_op, const Chunk& of,
                     float* scratch, int index, int the_channel)
      : op(the_op), chunk(of), channel(the_channel) {
    data = scratch + (chunk.first_row + index * HistoryRows(op)) * op.width;
  }
  __device__ int half() const { return op.base_length / 2; }
  __device__ int64_t end() const { return chunk.position + chunk.rows; }
  // Of a level: the oldest block kept, the ring's newest before the chunk and
  // after it.
  __device__ int64_t Oldest(int level) const {
    return (chunk.position >> level) - 2 * half();
  }
  __device__ int64_t Before(int level) const {
    return (chunk.position >> level) - half();
  }
  __device__ int64_t Newest(int level) const {
    return (end() >> level) - half();
  }
  __device__ int Count(int level) const {
    return static_cast<int>(Newest(level) - Oldest(level)) + 1;
  }
  // The next level's first row.
  __device__ int64_t After(int64_t first, int level) const {
    return first + (level == 0 ? op.base_length : Count(level));
  }
  __device__ float& Block(int64_t first, int level, int64_t block) const {
    return data[(first + block - Oldest(level)) * op.width + channel];
  }
  __device__ float Input(int64_t position) const {
    if (position < 0) return 0.0f;
    const int64_t ago = position - chunk.position;
    return ago >= 0 ? op.a[(chunk.first_row + ago) * op.width + channel]
                    : data[(ago + op.base_length) * op.width + channel];
  }
  __device__ float* State() const {
    return op.state.data + chunk.slot * op.state.slot_stride + channel;
  }
  // The state's row where a level's ring begins.
  __device__ int64_t RingOf(int level) const {
    return op.base_length + int64_t{level - 1} * (half() + 1);
  }
};

// Makes the histories of a step's chunks.
cudaError_t LaunchHistory(const HierarchicalConvolution& op,
                          const ChunkList& chunks, float* history,
                          cudaStream_t stream);

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_HIERARCHICAL_HISTORY_CUH_
