// What a chunk of the hierarchical convolution reads of its past and of itself:
// level 0's last B inputs before the chunk, and of every level j the blocks
// from the ring's oldest, (p >> j) - B with p the chunk's first position, to
// the newest that enters the ring during the chunk. It is whole before the
// outputs are made, so none of them reads the state while another writes it.
#ifndef CHELA_KERNELS_CUDA_HIERARCHICAL_HISTORY_CUH_
#define CHELA_KERNELS_CUDA_HIERARCHICAL_HISTORY_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/convolution_sums.cuh"
#include "kernels/cuda/step_rows.h"
#include "kernels/long_convolution.h"

namespace chela::cuda {

// The base length whose outputs are made by runs: a warp keeps the inputs, the
// taps and the blocks of levels 0 to kRunLevels in registers.
inline constexpr int kRunBase = 16;
inline constexpr int kRunLevels = 3;

// Rows of history that a chunk may need beside one a token.
inline __host__ __device__ int64_t
HistoryRows(const HierarchicalConvolution& op) {
  return op.base_length + int64_t{op.levels} * (op.base_length / 2 + 2);
}

inline constexpr int kMaxLevels = 40;  // as Validate allows

// Where the levels of a chunk's history stand: the row that block 0 of each
// would have. Every thread of a block calls Fill, then __syncthreads.
struct LevelRows {
  int64_t rows[kMaxLevels + 1];

  __device__ void Fill(const HierarchicalConvolution& op, const Chunk& chunk) {
    const int level = static_cast<int>(threadIdx.x);
    if (level < 1 || level > op.levels) return;
    const int64_t end = chunk.position + chunk.rows;
    const int half = op.base_length / 2;
    int64_t row = op.base_length;
    for (int finer = 1; finer < level; ++finer) {
      row += (end >> finer) - (chunk.position >> finer) + half + 1;
    }
    rows[level] = row - (chunk.position >> level) + 2 * half;
  }
};

// One channel of one chunk.
struct History {
  const HierarchicalConvolution& op;
  const Chunk& chunk;
  const LevelRows& levels;
  int channel = 0;
  float* data = nullptr;  // of the chunk

  __device__ History(const HierarchicalConvolution& the_op, const Chunk& of,
                     const LevelRows& rows, float* scratch, int index,
                     int the_channel)
      : op(the_op), chunk(of), levels(rows), channel(the_channel) {
    data = scratch + (chunk.first_row + index * HistoryRows(op)) * op.width;
  }
  __device__ int half() const { return op.base_length / 2; }
  __device__ int64_t end() const { return chunk.position + chunk.rows; }
  // Of a level: the ring's newest before the chunk and after it.
  __device__ int64_t Before(int level) const {
    return (chunk.position >> level) - half();
  }
  __device__ int64_t Newest(int level) const {
    return (end() >> level) - half();
  }
  // Runs make the blocks of their finest levels again: only those are kept that
  // the first run, the chunk's edges and the rings need.
  __device__ int64_t FineKeptBefore() const {  // position
    return chunk.position + 4 * kRunBase;
  }
  __device__ int64_t FineKeptFrom() const {  // position
    return end() - 9 * kRunBase;
  }
  __device__ float& Block(int level, int64_t block) const {
    return data[(levels.rows[level] + block) * op.width + channel];
  }
  // From B positions before the chunk on; 0 before the start.
  __device__ float Input(int64_t position) const {
    const int64_t ago = position - chunk.position;
    const float* const from = ago >= 0
                                  ? op.a + (chunk.first_row + ago) * op.width
                                  : data + (ago + op.base_length) * op.width;
    return from[channel];
  }
  __device__ float* State() const {
    return op.state.data + chunk.slot * op.state.slot_stride + channel;
  }
};

// A row of a ring: level 0 has B, `back` 1 to B positions before `end`; the
// others have B/2 + 1, B/2 to B blocks before the one at `end`.
struct RingRow {
  int level;
  int back;
  int64_t block;  // or position
  int64_t row;    // of the state, if block >= 0

  static __device__ int Count(const HierarchicalConvolution& op) {
    return op.base_length + op.levels * (op.base_length / 2 + 1);
  }
  __device__ RingRow(const HierarchicalConvolution& op, int64_t end, int index)
      : RingRow(op.base_length, end, index) {}
  __device__ __forceinline__ RingRow(int length, int64_t end, int index) {
    const int ring = length / 2 + 1;
    const int other = index - length;
    level = other < 0 ? 0 : 1 + other / ring;
    back = other < 0 ? index + 1 : length / 2 + other % ring;
    block = (end >> level) - back;
    const int64_t at = max(block, int64_t{0});
    row = level == 0 ? Mod(at, length)
                     : length + int64_t{level - 1} * ring + Mod(at, ring);
  }
};

__device__ __forceinline__ float Mean(float first, float second) {
  return 0.5f * (first + second);
}

// Makes the histories of a step's chunks. overlap: the device has programmatic
// dependent launch.
cudaError_t LaunchHistory(const HierarchicalConvolution& op,
                          const ChunkList& chunks, bool overlap, float* history,
                          cudaStream_t stream);

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_HIERARCHICAL_HISTORY_CUH_
