// What a chunk of the explicit convolution needs beside its tiles.
#include "kernels/cuda/explicit_chunk.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kBeginRows = 32;
// Rows that meet each other directly: what tiles of 32 and 64 rows and the
// block of 32 of each output come to.
constexpr int kNearRows = 128;
constexpr int kOutputs = 8;  // of a warp at a time

__global__ void __launch_bounds__(kThreads)
    BeginChunks(const __grid_constant__ ExplicitConvolution op,
                const __grid_constant__ ExplicitView view,
                const __grid_constant__ ChunkPhase phase) {
  WaitForEarlier();
  const Chunk chunk = phase.chunks[blockIdx.z];
  const GroupState state =
      StateOf(op, view, chunk.slot, static_cast<int>(blockIdx.y));
  const ChunkPart part = PartOf(view, chunk, state.origin, phase.phase);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int first = static_cast<int>(blockIdx.x) * kBeginRows +
                    static_cast<int>(threadIdx.x) / 32;
  if (lane >= state.channels || part.start + first >= part.end) return;
  const int64_t untouched = FirstUntouched(view, state.origin, part.start);
  const int channel = state.channel + lane;
  const float skip = op.skip[channel];
#pragma unroll
  for (int i = 0; i < kBeginRows; i += kWarps) {
    const int64_t tau = part.start + first + i;
    if (tau >= part.end) break;
    const int64_t at = (part.row + first + i) * view.width + channel;
    float* const row =
        state.rows + (tau & (view.ring - 1)) * int64_t{state.channels} + lane;
    const float a = op.a[at];
    op.c[at] = fmaf(skip, a, tau < untouched ? *row : 0.0f);
    *row = a;
  }
}

// Of the tiles of 32 and 64 rows that end at offset 32, 64 or 96 of a block of
// kNearRows, up to `end`: the offset up to which they have brought inputs to
// the output at `offset`.
__device__ __forceinline__ int Horizon(int end, int offset) {
  if (end >= 96 && offset >= 96) return 96;
  if (end >= 64 && offset >= 64) return 64;
  if (end >= 32 && offset >= 32 && offset < 64) return 32;
  return 0;
}

// sums[k] += taps[first + k - j] x[j] for j = from .. to; offsets in a block.
__device__ __forceinline__ void SumWindow(const float* x, const float* taps,
                                          int first, int from, int to,
                                          float* sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float window[kOutputs];
#pragma unroll
  for (int k = 0; k < kOutputs; ++k) {
    window[k] = taps[(kOutputs + first + k - from) * kGroup + lane];
  }
#pragma unroll 8
  for (int j = from; j <= to; ++j) {
    const float input = x[j * kGroup + lane];
#pragma unroll
    for (int k = 0; k < kOutputs; ++k) {
      sums[k] = fmaf(window[k], input, sums[k]);
    }
#pragma unroll
    for (int k = kOutputs - 1; k > 0; --k) window[k] = window[k - 1];
    window[0] = taps[(kOutputs + first - j - 1) * kGroup + lane];
  }
}

// A block has one group of kNearRows rows of a chunk; offsets are in it.
struct NearBlock {
  int64_t tau = 0;  // of offset 0
  int start = 0;    // the part's first token; may be negative
  int end = 0;      // and the one after its last; may be beyond the block
  int origin = 0;   // of the sequence; may be negative
};

// Outputs first .. first + kOutputs - 1: to c in the part, to the state beyond.
__device__ void SumOutputs(const ExplicitConvolution& op,
                           const ExplicitView& view, const GroupState& state,
                           const ChunkPart& part, const NearBlock& block,
                           const float* x, const float* taps, int first) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int last = first + kOutputs - 1;
  if (last < block.start) return;
  const int from = max(
      max(block.start > 0 ? Horizon(block.start, first) : 0, block.origin), 0);
  if (first < block.end) {
    float sums[kOutputs] = {};
    SumWindow(x, taps, first, from, min(last, block.end - 1), sums);
#pragma unroll
    for (int k = 0; k < kOutputs; ++k) {
      const int offset = first + k;
      if (offset < block.start || offset >= block.end ||
          lane >= state.channels) {
        continue;
      }
      float* const c =
          op.c + (part.row + block.tau + offset - part.start) * view.width +
          state.channel + lane;
      *c = *c + sums[k];
    }
  }
  if (last < block.end) return;
  // Did a tile of 32 or 64 rows end in the part that reaches these outputs?
  const int to = Horizon(block.end, first);
  if (to <= max(max(block.start, block.origin), 0)) return;
  float sums[kOutputs] = {};
  SumWindow(x, taps, first, from, to - 1, sums);
  // A larger tile has reached the whole block, or an earlier one these outputs.
  const bool touched =
      block.origin < 0 ||
      (block.start > 0 && Horizon(block.start, first) > block.origin);
#pragma unroll
  for (int k = 0; k < kOutputs; ++k) {
    const int offset = first + k;
    if (offset < block.end || lane >= state.channels) continue;
    float* const row =
        state.rows +
        ((block.tau + offset) & (view.ring - 1)) * int64_t{state.channels} +
        lane;
    *row = touched ? *row + sums[k] : sums[k];
  }
}

__global__ void __launch_bounds__(kThreads)
    NearRows(const __grid_constant__ ExplicitConvolution op,
             const __grid_constant__ ExplicitView view,
             const __grid_constant__ ChunkPhase phase) {
  __shared__ float x[kNearRows * kGroup];
  __shared__ float taps[(kOutputs + kNearRows) * kGroup];
  WaitForEarlier();
  const Chunk chunk = phase.chunks[blockIdx.z];
  const int group = static_cast<int>(blockIdx.y);
  const GroupState state = StateOf(op, view, chunk.slot, group);
  const ChunkPart part = PartOf(view, chunk, state.origin, phase.phase);
  NearBlock block;
  block.tau =
      (part.start & -int64_t{kNearRows}) + int64_t{blockIdx.x} * kNearRows;
  if (part.end <= part.start || block.tau >= part.end) return;
  const auto offset_of = [&](int64_t tau) {
    return static_cast<int>(
        min(max(tau - block.tau, int64_t{-1}), int64_t{kNearRows}));
  };
  block.start = offset_of(part.start);
  block.end = offset_of(part.end);
  block.origin = offset_of(state.origin);
  const float* const from = TapsOf(view, group);
  for (int i = static_cast<int>(threadIdx.x);
       i < (kOutputs + kNearRows) * kGroup; i += kThreads) {
    taps[i] = i < kOutputs * kGroup ? 0.0f : from[i - kOutputs * kGroup];
  }
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  for (int offset = warp; offset < kNearRows; offset += kWarps) {
    const bool there =
        offset >= block.origin && offset < block.end && lane < state.channels;
    x[offset * kGroup + lane] =
        there ? state.rows[((block.tau + offset) & (view.ring - 1)) *
                               int64_t{state.channels} +
                           lane]
              : 0.0f;
  }
  __syncthreads();
  // An early and a late window: as many inputs for every warp.
  SumOutputs(op, view, state, part, block, x, taps, warp * kOutputs);
  SumOutputs(op, view, state, part, block, x, taps,
             (2 * kWarps - 1 - warp) * kOutputs);
}

}  // namespace

cudaError_t LaunchBegin(const ExplicitConvolution& op, const ExplicitView& view,
                        const ChunkPhase& phase, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid = dim3(Blocks(phase.longest, kBeginRows),
                    static_cast<unsigned>(view.groups),
                    static_cast<unsigned>(phase.count));
  shape.block = dim3(kThreads);
  shape.stream = stream;
  return Launch(shape, BeginChunks, op, view, phase);
}

cudaError_t LaunchNear(const ExplicitConvolution& op, const ExplicitView& view,
                       const ChunkPhase& phase, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid = dim3(Blocks(phase.longest, kNearRows) + 1,
                    static_cast<unsigned>(view.groups),
                    static_cast<unsigned>(phase.count));
  shape.block = dim3(kThreads);
  shape.stream = stream;
  return Launch(shape, NearRows, op, view, phase);
}

}  // namespace chela::cuda
