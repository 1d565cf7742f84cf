// Chunks of the short and the hierarchical convolution: the sums of
// convolution_decode.cu in the same order, token after token.
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr int kGroups = 8;     // sums of level 0, by lag mod 8
constexpr int kChannels = 32;  // of a block of the hierarchical kernel
constexpr int kRowsPerBlock = 8;
constexpr int kNormThreads = 256;
constexpr size_t kMaxShared = 200 * 1024;

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

// One channel of one sequence: where its state stands and how far apart its
// rows are.
struct ChannelState {
  float* data = nullptr;
  int64_t stride = 0;
  __device__ float& At(int64_t row) const { return data[row * stride]; }
};

__device__ void AdvanceLevels(const HierarchicalConvolution& op,
                              const ChannelState& state, int channel,
                              int64_t seen) {
  const int half = op.base_length / 2;
  const int64_t width = op.width;
  const int64_t sums = op.base_length + int64_t{op.levels} * (half + 1);
  const int changed = min(__ffsll(seen) - 1, op.levels);
  // A coarser level that never changed has no sum yet.
  const bool coarser = changed < op.levels && (seen >> (changed + 1)) > 0;
  float above = coarser ? state.At(sums + changed) : 0.0f;
  // From the coarsest down, as the sums are added: a level's new block is made
  // of rows that no finer level replaces at this step.
  for (int level = changed; level >= 1; --level) {
    const int64_t newest = (seen >> level) - half;
    float sum = 0;
    if (newest >= 0) {
      const int below = level == 1 ? op.base_length : half + 1;
      const int64_t from =
          level == 1 ? 0 : op.base_length + int64_t{level - 2} * (half + 1);
      const int64_t ring = op.base_length + int64_t{level - 1} * (half + 1);
      const float block = 0.5f * (state.At(from + 2 * newest % below) +
                                  state.At(from + (2 * newest + 1) % below));
      const float* taps = op.taps + int64_t{level - 1} * half * width + channel;
      const int count = static_cast<int>(newest + 1 < half ? newest + 1 : half);
      int row = static_cast<int>(newest % (half + 1));
      const int new_row = row;
      sum = taps[0] * block;
      for (int m = 1; m < count; ++m) {
        row = row == 0 ? half : row - 1;
        sum = fmaf(taps[m * width], state.At(ring + row), sum);
      }
      state.At(ring + new_row) = block;
    }
    above = sum + above;
    state.At(sums + level - 1) = above;
  }
}

__device__ void RunChunk(const HierarchicalConvolution& op, const Chunk& chunk,
                         const ChannelState& state, int channel) {
  const int length = op.base_length;
  const int64_t width = op.width;
  const int64_t sums = length + int64_t{op.levels} * (length / 2 + 1);
  const float* taps0 = op.taps0 + channel;
  int newest = static_cast<int>(chunk.position % length);
  for (int r = 0; r < chunk.rows; ++r) {
    const int64_t row = chunk.first_row + int64_t{r};
    const int64_t seen = chunk.position + r + 1;
    const int held = static_cast<int>(seen < length ? seen : length);
    const float a = op.a[row * width + channel];
    float near[kGroups] = {};
    int ring_row = newest;
    for (int m = 0; m < held; m += kGroups) {
#pragma unroll
      for (int group = 0; group < kGroups; ++group) {
        if (m + group > 0 && m + group < held) {
          near[group] =
              fmaf(taps0[(m + group) * width], state.At(ring_row), near[group]);
        }
        ring_row = ring_row == 0 ? length - 1 : ring_row - 1;
      }
    }
    AdvanceLevels(op, state, channel, seen);
    float c = 0;
#pragma unroll
    for (int group = 0; group < kGroups; ++group) c += near[group];
    c += seen < 2 ? 0.0f : state.At(sums);
    c = fmaf(taps0[0], a, c);
    c = fmaf(op.skip[channel], a, c);
    state.At(newest) = a;
    op.c[row * width + channel] = c;
    newest = newest + 1 == length ? 0 : newest + 1;
  }
}

// A thread owns one channel of one chunk and walks through its tokens; no
// thread reads what another writes. With `shared`, on a copy of the state in
// shared memory.
__global__ void __launch_bounds__(kChannels)
    HierarchicalChunks(const __grid_constant__ HierarchicalConvolution op,
                       const Chunk* chunks, bool shared) {
  extern __shared__ float copy[];
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int lane = static_cast<int>(threadIdx.x);
  const int channel = static_cast<int>(blockIdx.x) * kChannels + lane;
  if (channel >= op.width) return;
  const ChannelState state = {
      op.state.data + chunk.slot * op.state.slot_stride + channel, op.width};
  if (!shared) {
    RunChunk(op, chunk, state, channel);
    return;
  }
  const int rows = op.base_length + op.levels * (op.base_length / 2 + 2);
  const ChannelState own = {copy + lane, kChannels};
  for (int r = 0; r < rows; ++r) own.At(r) = state.At(r);
  RunChunk(op, chunk, own, channel);
  for (int r = 0; r < rows; ++r) state.At(r) = own.At(r);
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

cudaError_t LaunchChunks(const HierarchicalConvolution& op, const Chunk* chunks,
                         int32_t count, cudaStream_t stream) {
  const int64_t rows =
      op.base_length + int64_t{op.levels} * (op.base_length / 2 + 2);
  const size_t bytes = static_cast<size_t>(rows) * kChannels * sizeof(float);
  const bool shared = bytes <= kMaxShared;
  LaunchShape shape;
  shape.grid = dim3(Blocks(op.width, kChannels), static_cast<unsigned>(count));
  shape.block = dim3(kChannels);
  shape.shared_bytes = shared ? bytes : 0;
  shape.stream = stream;
  return Launch(shape, HierarchicalChunks, op, chunks, shared);
}

}  // namespace chela::cuda
