// The history of chunks of the hierarchical convolution (step 1 and 2 of
// hierarchical_chunks.cu).
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/convolution_sums.cuh"
#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/hierarchical_history.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr int kLanes = 32;
constexpr int kSpanLevels = 6;
constexpr int kSpan = 1 << kSpanLevels;
constexpr int kWarps = 8;

__device__ __forceinline__ float Mean(float first, float second) {
  return 0.5f * (first + second);
}

__global__ void __launch_bounds__(kWarps* kLanes)
    BlocksOfSpans(const __grid_constant__ HierarchicalConvolution op,
                  const Chunk* chunks, float* scratch) {
  __shared__ float eights[kWarps][kLanes];
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int warp = static_cast<int>(threadIdx.x) / kLanes;
  const int channel = static_cast<int>(blockIdx.x) * kLanes + lane;
  const History history(op, chunk, scratch, static_cast<int>(blockIdx.y),
                        channel);
  const int64_t begin = ((chunk.position >> kSpanLevels) + blockIdx.z) * kSpan;
  if (begin >= history.end()) return;
  const bool in_width = channel < op.width;
  // Keeps a block if it began in the chunk and enters the ring there.
  const auto keep = [&](int64_t first, int level, int64_t block, float mean) {
    if (in_width && block << level >= chunk.position &&
        block <= history.Newest(level)) {
      history.Block(first, level, block) = mean;
    }
  };
  const int64_t own = begin + warp * 8;
  float blocks[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int64_t row = own + i - chunk.position;
    blocks[i] = in_width && row >= 0 && row < chunk.rows
                    ? op.a[(chunk.first_row + row) * op.width + channel]
                    : 0.0f;
  }
  int64_t first = op.base_length;
#pragma unroll
  for (int level = 1; level <= 3; ++level) {
#pragma unroll
    for (int i = 0; i < 8 >> level; ++i) {
      blocks[i] = Mean(blocks[2 * i], blocks[2 * i + 1]);
      if (level <= op.levels) {
        keep(first, level, (own >> level) + i, blocks[i]);
      }
    }
    first = history.After(first, level);
  }
  eights[warp][lane] = blocks[0];
  __syncthreads();
  if (warp > 0) return;
#pragma unroll
  for (int i = 0; i < 8; ++i) blocks[i] = eights[i][lane];
#pragma unroll
  for (int level = 4; level <= kSpanLevels; ++level) {
#pragma unroll
    for (int i = 0; i < kSpan >> level; ++i) {
      blocks[i] = Mean(blocks[2 * i], blocks[2 * i + 1]);
      if (level <= op.levels) {
        keep(first, level, (begin >> level) + i, blocks[i]);
      }
    }
    first = history.After(first, level);
  }
}

// Level after level, since each is made of the one below.
__global__ void __launch_bounds__(kWarps* kLanes)
    OtherBlocks(const __grid_constant__ HierarchicalConvolution op,
                const Chunk* chunks, float* scratch) {
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int warp = static_cast<int>(threadIdx.x) / kLanes;
  const int channel = static_cast<int>(blockIdx.x) * kLanes +
                      static_cast<int>(threadIdx.x) % kLanes;
  const History history(op, chunk, scratch, static_cast<int>(blockIdx.y),
                        channel);
  const bool in_width = channel < op.width;
  const float* const state = history.State();
  const int length = op.base_length;
  const int ring = length / 2 + 1;
  // The rings as they are. A new sequence has none; its blocks before the start
  // are 0.
  if (in_width) {
    for (int i = warp; i < length; i += kWarps) {
      const int64_t position = chunk.position - length + i;
      history.data[int64_t{i} * op.width + channel] =
          position >= 0 ? state[int64_t{Mod(position, length)} * op.width]
                        : 0.0f;
    }
    int64_t first = length;
    for (int level = 1; level <= op.levels; ++level) {
      for (int i = warp; i < ring; i += kWarps) {
        const int64_t block = history.Oldest(level) + i;
        history.Block(first, level, block) =
            block >= 0
                ? state[(history.RingOf(level) + Mod(block, ring)) * op.width]
                : 0.0f;
      }
      first = history.After(first, level);
    }
  }
  int64_t below = 0;
  int64_t first = length;
  for (int level = 1; level <= op.levels; ++level) {
    __syncthreads();  // the level below is whole
    // BlocksOfSpans made those that began in the chunk.
    const int64_t began = (chunk.position + (int64_t{1} << level) - 1) >> level;
    const int64_t stop = level <= kSpanLevels
                             ? min(began - 1, history.Newest(level))
                             : history.Newest(level);
    for (int64_t block = history.Before(level) + 1 + warp;
         in_width && block <= stop; block += kWarps) {
      float mean = 0;
      if (block >= 0) {
        mean =
            level == 1
                ? Mean(history.Input(2 * block), history.Input(2 * block + 1))
                : Mean(history.Block(below, level - 1, 2 * block),
                       history.Block(below, level - 1, 2 * block + 1));
      }
      history.Block(first, level, block) = mean;
    }
    below = first;
    first = history.After(first, level);
  }
}

}  // namespace

int64_t HistoryFloats(const HierarchicalConvolution& op, int64_t rows,
                      int32_t chunks) {
  return (rows + chunks * HistoryRows(op)) * op.width;
}

cudaError_t LaunchHistory(const HierarchicalConvolution& op,
                          const ChunkList& chunks, float* history,
                          cudaStream_t stream) {
  const unsigned columns = Blocks(op.width, kLanes);
  const auto count = static_cast<unsigned>(chunks.count);
  LaunchShape shape;
  shape.stream = stream;
  shape.block = dim3(kWarps * kLanes);
  // A chunk lies in one more than it could fill.
  shape.grid = dim3(columns, count, Blocks(chunks.longest, kSpan) + 1);
  const cudaError_t error =
      Launch(shape, BlocksOfSpans, op, chunks.chunks, history);
  if (error != cudaSuccess) return error;
  shape.grid = dim3(columns, count);
  return Launch(shape, OtherBlocks, op, chunks.chunks, history);
}

}  // namespace chela::cuda
