// Chunks of the short convolution: the sums of convolution_decode.cu in the
// same order.
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/convolution_sums.cuh"
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

// The ring after a chunk.
__device__ void WriteRing(const ShortConvolution& op, const Chunk& chunk,
                          int channel) {
  const int ring = op.taps - 1;
  float* const state =
      op.state.data + chunk.slot * op.state.slot_stride + channel;
  if (chunk.position == 0) {
    for (int r = chunk.rows; r < ring; ++r) {
      state[int64_t{r} * op.width] = 0.0f;
    }
  }
  const int first = max(chunk.rows - ring, 0);
  int row = ring > 0 ? Mod(chunk.position + first, ring) : 0;
  for (int r = first; r < chunk.rows; ++r) {
    state[int64_t{row} * op.width] =
        op.u[(chunk.first_row + int64_t{r}) * op.width + channel];
    if (++row == ring) row = 0;
  }
}

// A thread owns one channel of kRowsPerBlock rows, whose inputs and the ones
// before them it keeps in registers: up to kRowsPerBlock + 1 taps. Only the
// first rows of a chunk read its ring, so their thread writes it.
__global__ void __launch_bounds__(128)
    ShortChunks(const __grid_constant__ ShortConvolution op,
                const Chunk* chunks) {
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int channel = static_cast<int>(blockIdx.z * 128 + threadIdx.x);
  const int first = static_cast<int>(blockIdx.x) * kRowsPerBlock;
  if (channel >= op.width || first >= chunk.rows) return;
  const int ring = op.taps - 1;
  const int64_t width = op.width;
  float* const state =
      op.state.data + chunk.slot * op.state.slot_stride + channel;
  const float* const u = op.u + chunk.first_row * width + channel;
  float weight[kRowsPerBlock + 1];              // by lag
  float inputs[kRowsPerBlock + kRowsPerBlock];  // from first - kRowsPerBlock on
#pragma unroll
  for (int lag = 0; lag <= kRowsPerBlock; ++lag) {
    weight[lag] = lag <= ring ? op.weight[(ring - lag) * width + channel] : 0;
  }
#pragma unroll
  for (int i = 0; i < 2 * kRowsPerBlock; ++i) {
    const int r = first + i - kRowsPerBlock;
    inputs[i] = r >= 0 && r < chunk.rows ? u[r * width] : 0.0f;
  }
  if (first == 0) {
    // Rows of the ring from the oldest on, without a division for each.
    int row = ring > 0 ? Mod(chunk.position, ring) : 0;
#pragma unroll
    for (int lag = kRowsPerBlock; lag >= 1; --lag) {
      if (lag > ring) continue;
      if (lag <= chunk.position) {
        inputs[kRowsPerBlock - lag] = state[row * width];
      }
      if (++row == ring) row = 0;
    }
  }
  const float bias = op.bias[channel];
#pragma unroll
  for (int i = 0; i < kRowsPerBlock; ++i) {
    if (first + i >= chunk.rows) break;
    const int64_t position = chunk.position + first + i;
    float sum = bias;
#pragma unroll
    for (int lag = 1; lag <= kRowsPerBlock; ++lag) {
      if (lag > ring || lag > position) continue;
      sum = fmaf(weight[lag], inputs[kRowsPerBlock + i - lag], sum);
    }
    op.a[(chunk.first_row + first + i) * width + channel] =
        Silu(fmaf(weight[0], inputs[kRowsPerBlock + i], sum));
  }
  if (first == 0) WriteRing(op, chunk, channel);
}

// More taps than fit the registers.
__global__ void __launch_bounds__(128)
    LongChunks(const __grid_constant__ ShortConvolution op,
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
                               : state[Mod(position - m, ring) * op.width];
      sum = fmaf(op.weight[int64_t{ring - m} * op.width + channel], old, sum);
    }
    op.a[(chunk.first_row + int64_t{r}) * op.width + channel] =
        Silu(fmaf(op.weight[int64_t{ring} * op.width + channel],
                  u[int64_t{r} * op.width], sum));
  }
}

// A kernel of its own: LongChunks still reads the rows that it replaces.
__global__ void __launch_bounds__(128)
    LongRing(const __grid_constant__ ShortConvolution op, const Chunk* chunks) {
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int channel = static_cast<int>(blockIdx.x * 128 + threadIdx.x);
  if (channel < op.width) WriteRing(op, chunk, channel);
}

}  // namespace

cudaError_t LaunchChunks(const ShortConvolution& op, const Chunk* chunks,
                         int32_t count, int32_t longest, bool overlap,
                         cudaStream_t stream) {
  LaunchShape shape;
  shape.stream = stream;
  shape.overlap = overlap;
  shape.grid =
      dim3(static_cast<unsigned>(longest), static_cast<unsigned>(count));
  shape.block = dim3(kNormThreads);
  cudaError_t error = Launch(shape, NormChunks, op, chunks);
  if (error != cudaSuccess) return error;
  const bool in_registers = op.taps <= kRowsPerBlock + 1;
  shape.block = dim3(128);
  shape.grid = dim3(Blocks(longest, kRowsPerBlock),
                    static_cast<unsigned>(count), Blocks(op.width, 128));
  error = Launch(shape, in_registers ? ShortChunks : LongChunks, op, chunks);
  if (error != cudaSuccess || in_registers) return error;
  shape.grid = dim3(Blocks(op.width, 128), static_cast<unsigned>(count));
  return Launch(shape, LongRing, op, chunks);
}

}  // namespace chela::cuda
