// Chunks of the short convolution: the sums of convolution_decode.cu in the
// same order.
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr int kRowsPerBlock = 8;
constexpr int kNormThreads = 256;

// A block normalises one row of a chunk; each of its warps takes the statistics
// for itself.
__global__ void __launch_bounds__(kNormThreads)
    NormChunks(const __grid_constant__ ShortConvolution op,
               const Chunk* chunks) {
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int r = static_cast<int>(blockIdx.x);
  if (r >= chunk.rows) return;
  const int64_t row = chunk.first_row + r;
  const float* x = op.x + row * op.width;
  const NormStatistics statistics = WarpNormStatistics(x, op.width, op.norm);
  for (int j = static_cast<int>(threadIdx.x); j < op.width; j += kNormThreads) {
    op.u[row * op.width + j] = Normalize(op.norm, statistics, x[j], j);
  }
}

// A thread owns one channel of kRowsPerBlock rows.
__global__ void __launch_bounds__(128)
    ShortChunks(const __grid_constant__ ShortConvolution op,
                const Chunk* chunks) {
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int channel = static_cast<int>(blockIdx.z * 128 + threadIdx.x);
  const int first = static_cast<int>(blockIdx.x) * kRowsPerBlock;
  if (channel >= op.width) return;
  const int ring = op.taps - 1;
  const float* state =
      op.state.data + chunk.slot * op.state.slot_stride + channel;
  const float* u = op.u + int64_t{chunk.first_row} * op.width + channel;
  for (int r = first; r < min(first + kRowsPerBlock, chunk.rows); ++r) {
    const int64_t position = chunk.position + r;
    float sum = op.bias[channel];
    for (int m = 1; m < op.taps && m <= position; ++m) {
      const float old = m <= r ? u[int64_t{r - m} * op.width]
                               : state[(position - m) % ring * op.width];
      sum = fmaf(op.weight[int64_t{ring - m} * op.width + channel], old, sum);
    }
    op.a[(chunk.first_row + int64_t{r}) * op.width + channel] =
        Silu(fmaf(op.weight[int64_t{ring} * op.width + channel],
                  u[int64_t{r} * op.width], sum));
  }
}

// The ring after a chunk. A kernel of its own: the one before still reads the
// rows that this one replaces.
__global__ void __launch_bounds__(128)
    ShortRing(const __grid_constant__ ShortConvolution op,
              const Chunk* chunks) {
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int channel = static_cast<int>(blockIdx.x * 128 + threadIdx.x);
  if (channel >= op.width) return;
  const int ring = op.taps - 1;
  float* state = op.state.data + chunk.slot * op.state.slot_stride + channel;
  if (chunk.position == 0) {
    for (int r = chunk.rows; r < ring; ++r) {
      state[int64_t{r} * op.width] = 0.0f;
    }
  }
  for (int r = max(chunk.rows - ring, 0); r < chunk.rows; ++r) {
    state[(chunk.position + r) % ring * op.width] =
        op.u[(chunk.first_row + int64_t{r}) * op.width + channel];
  }
}

}  // namespace

cudaError_t LaunchChunks(const ShortConvolution& op, const Chunk* chunks,
                         int32_t count, int32_t longest, cudaStream_t stream) {
  LaunchShape shape;
  shape.stream = stream;
  shape.grid =
      dim3(static_cast<unsigned>(longest), static_cast<unsigned>(count));
  shape.block = dim3(kNormThreads);
  cudaError_t error = Launch(shape, NormChunks, op, chunks);
  if (error != cudaSuccess) return error;
  shape.block = dim3(128);
  shape.grid = dim3(Blocks(longest, kRowsPerBlock),
                    static_cast<unsigned>(count), Blocks(op.width, 128));
  error = Launch(shape, ShortChunks, op, chunks);
  if (error != cudaSuccess || op.taps == 1) return error;
  shape.grid = dim3(Blocks(op.width, 128), static_cast<unsigned>(count));
  return Launch(shape, ShortRing, op, chunks);
}

}  // namespace chela::cuda
