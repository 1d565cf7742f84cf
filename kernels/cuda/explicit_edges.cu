// The parts of a chunk of the explicit convolution that fill no block: sums by
// the definition, of what tiles of less than kBlock rows bring together.
#include "kernels/cuda/explicit_chunk.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kChannels = 8;  // of a thread block: a sector of a row
constexpr int kOutputs = 8;   // of a lane at a time
constexpr int kRows = 32;     // of a warp at a time: kNear, never cut by a tile
static_assert(kRows == kNear);
static_assert(kRows * kChannels == 32 * kOutputs);
// In shared memory a channel's floats stand together. Pitches are 4 modulo 32,
// so that 16 bytes of each of the 8 channels meet all banks.
constexpr int kInputPitch = kBlock + 4;
constexpr int kTapPitch = kRows + kBlock + 4;
struct EdgeMemory {
  float inputs[kChannels][kInputPitch];
  float taps[kChannels][kTapPitch];  // of lag -kRows and on: 0 below 0
};
// Sums of so many products are added as one, so that rounding errors grow with
// the root of a smaller number.
constexpr int kRun = 128;

// Rows are counted from the start of the block.
struct Edge {
  int start = 0;  // its tokens
  int end = 0;
  int origin = 0;     // the sequence's start
  int untouched = 0;  // the first row that no tile had reached before
  bool begins = false;
};

// Of the outputs in rows [32 index, 32 index + 32): the first row whose inputs
// no tile has brought to them when the token at `row` comes. Tiles end at the
// largest dyadic multiple between input and output; those that end at or before
// `row` have run.
__device__ __forceinline__ int FirstOpen(int row, int index) {
  const int now = row / kRows;
  if (index <= now) return index * kRows;
  const int shift = 32 - __clz(index ^ now);
  return (index >> shift << shift) * kRows;
}

// Outputs of a warp: rows [32 index ..). In the first phase the sums of inputs
// [from, to) and, in the part, of those among the outputs themselves are added;
// in the second one pending outputs have all of the part from LaunchBlocks, and
// what no tile has brought to them is taken away.
struct Window {
  int from = 0;
  int to = 0;
  bool own = false;
};
__device__ __forceinline__ Window WindowOf(const Edge& edge, int index) {
  if (!edge.begins) {
    return {FirstOpen(edge.end, index), (edge.end + kRows - 1) / kRows * kRows,
            false};
  }
  return {FirstOpen(edge.start, index), FirstOpen(edge.end, index),
          index * kRows < edge.end};
}
__device__ __forceinline__ bool HasOutputs(const Edge& edge, int index) {
  const Window window = WindowOf(edge, index);
  return window.own || window.to > window.from;
}

// sums[k] += tap[first + k - j] input[j] for j = from .. to - 1, multiples of 4
// as `first` is one of 8. `inputs`, `taps`: of the lane's channel.
__device__ __forceinline__ void SumRows(const float* inputs, const float* taps,
                                        int first, int from, int to,
                                        float (&sums)[kOutputs]) {
  const auto taps_from = [taps](int lag) {
    return *reinterpret_cast<const float4*>(taps + kRows + lag);
  };
  float4 middle = taps_from(first - from);
  float4 high = taps_from(first - from + 4);
#pragma unroll 4
  for (int j = from; j < to; j += 4) {
    const float4 x = *reinterpret_cast<const float4*>(inputs + j);
    const float4 low = taps_from(first - j - 4);
    const float tap[12] = {low.x,    low.y,    low.z,    low.w,
                           middle.x, middle.y, middle.z, middle.w,
                           high.x,   high.y,   high.z,   high.w};
#pragma unroll
    for (int k = 0; k < kOutputs; ++k) {
      sums[k] = fmaf(tap[k + 4], x.x, sums[k]);
      sums[k] = fmaf(tap[k + 3], x.y, sums[k]);
      sums[k] = fmaf(tap[k + 2], x.z, sums[k]);
      sums[k] = fmaf(tap[k + 1], x.w, sums[k]);
    }
    high = middle;
    middle = low;
  }
}

// Where one channel of a part stands in global memory.
struct EdgeRows {
  const float* a = nullptr;  // row 0 would be here
  float* c = nullptr;
  float* state = nullptr;  // row 0 of the block
  int64_t width = 0;
  int stride = 0;
  float skip = 0;
};

// Outputs of rows first ..: sums and own are theirs from rows before and from
// those of the window. All that is read is asked for before the first store.
__device__ __forceinline__ void FinishRows(const Edge& edge, const EdgeRows& at,
                                           int first, bool pending,
                                           const float (&sums)[kOutputs],
                                           const float (&own)[kOutputs]) {
  float* const state = at.state + first * at.stride;
  float old[kOutputs];
  float a[kOutputs];
#pragma unroll
  for (int k = 0; k < kOutputs; ++k) {
    const bool touched = first + k < edge.untouched;
    old[k] = touched ? state[k * at.stride] : 0.0f;
    const int token = min(max(first + k, edge.start), edge.end - 1);
    a[k] = edge.begins ? at.a[token * at.width] : 0.0f;
  }
#pragma unroll
  for (int k = 0; k < kOutputs; ++k) {
    const int row = first + k;
    if (row >= edge.end) {
      if (pending) {
        state[k * at.stride] =
            edge.begins ? old[k] + sums[k] : old[k] - sums[k];
      }
    } else if (edge.begins && row >= edge.start) {
      at.c[row * at.width] = fmaf(at.skip, a[k], old[k]) + (sums[k] + own[k]);
      state[k * at.stride] = a[k];
    }
  }
}

__device__ __forceinline__ void RunWindow(const Edge& edge, const EdgeRows& at,
                                          int index, const float* inputs,
                                          const float* taps, bool there) {
  const Window window = WindowOf(edge, index);
  const int first =
      index * kRows + static_cast<int>(threadIdx.x) % 32 / kChannels * kOutputs;
  float sums[kOutputs] = {};
  for (int from = window.from; from < window.to; from += kRun) {
    float run[kOutputs] = {};
    SumRows(inputs, taps, first, from, min(from + kRun, window.to), run);
#pragma unroll
    for (int k = 0; k < kOutputs; ++k) sums[k] += run[k];
  }
  float own[kOutputs] = {};
  if (window.own) {
    SumRows(inputs, taps, first, index * kRows, (index + 1) * kRows, own);
  }
  // Nothing but tokens' own outputs where no tile ends.
  if (there) {
    FinishRows(edge, at, first, window.to > window.from, sums, own);
  }
}

// The inputs and taps that the outputs up to those of `last` need.
__device__ __forceinline__ void StageEdge(const Edge& edge, const EdgeRows& at,
                                          int first_token, int last,
                                          const float* lags, bool there,
                                          EdgeMemory& memory) {
  const int thread = static_cast<int>(threadIdx.x);
  const int channel = thread % kChannels;
  const int from = WindowOf(edge, last).from;
  const int to = (edge.end + kRows - 1) / kRows * kRows;
  // Every load has an address that may be read, so that many are in flight.
#pragma unroll 8
  for (int row = from + thread / kChannels; row < to;
       row += kThreads / kChannels) {
    const float x = row < first_token ? at.state[row * at.stride]
                                      : at.a[min(row, edge.end - 1) * at.width];
    const bool is_input = there && row >= edge.origin && row < edge.end;
    memory.inputs[channel][row] = is_input ? x : 0.0f;
  }
  const int count = (last + 1) * kRows - from;
#pragma unroll 4
  for (int i = thread; i < kChannels * count / 4; i += kThreads) {
    const int row = i / (count / 4);
    const int lag = i % (count / 4) * 4;
    *reinterpret_cast<float4*>(&memory.taps[row][kRows + lag]) =
        __ldg(reinterpret_cast<const float4*>(lags + row * kBlock + lag));
  }
  memory.taps[thread / kRows][thread % kRows] = 0.0f;
  static_assert(kThreads == kChannels * kRows);
}

__global__ void __launch_bounds__(kThreads, 3)
    ChunkEdges(const __grid_constant__ ExplicitConvolution op,
               const __grid_constant__ ExplicitView view,
               const __grid_constant__ ChunkPhase phase) {
  extern __shared__ float4 shared[];
  EdgeMemory& memory = *reinterpret_cast<EdgeMemory*>(shared);
  WaitForEarlier();
  const Chunk chunk = phase.chunks[blockIdx.y];
  constexpr int kParts = kGroup / kChannels;
  const int group = static_cast<int>(blockIdx.x) / kParts;
  const GroupState state = StateOf(op, view, chunk.slot, group);
  const ChunkPart part = PartOf(view, chunk, state.origin, phase.phase);
  const int first_channel = static_cast<int>(blockIdx.x) % kParts * kChannels;
  if (part.end <= part.start || first_channel >= state.channels) return;

  const int64_t base = part.start & -int64_t{kBlock};
  const int64_t first_token = chunk.position + state.origin;
  const auto row_of = [base](int64_t tau) {
    return static_cast<int>(min(max(tau - base, int64_t{-1}), int64_t{kBlock}));
  };
  Edge edge;
  edge.start = row_of(part.start);
  edge.end = row_of(part.end);
  edge.origin = row_of(state.origin);
  edge.begins = phase.phase == 0;
  // LaunchBlocks has reached all of the last block.
  edge.untouched = edge.begins
                       ? row_of(FirstUntouched(view, state.origin, part.start))
                       : kBlock;
  const int channel = first_channel + static_cast<int>(threadIdx.x) % kChannels;
  const bool there = channel < state.channels;
  EdgeRows at;
  at.width = view.width;
  at.stride = state.channels;
  // Where there is no such channel, nothing is stored.
  const int read = there ? channel : first_channel;
  const int64_t column =
      (part.row - edge.start) * at.width + state.channel + read;
  at.a = op.a + column;
  at.c = op.c + column;
  at.state = state.rows + (base & (view.ring - 1)) * at.stride + read;
  at.skip = op.skip[state.channel + read];

  int last = kBlock / kRows - 1;
  const int first = (edge.begins ? edge.start : edge.end) / kRows;
  while (last >= first && !HasOutputs(edge, last)) --last;
  if (last < first) return;
  StageEdge(edge, at, row_of(first_token), last,
            view.lags + int64_t{state.channel + first_channel} * kBlock, there,
            memory);
  __syncthreads();
  const int lane_channel = static_cast<int>(threadIdx.x) % kChannels;
  for (int index = first + static_cast<int>(threadIdx.x) / 32; index <= last;
       index += kWarps) {
    if (!HasOutputs(edge, index)) continue;
    RunWindow(edge, at, index, memory.inputs[lane_channel],
              memory.taps[lane_channel], there);
  }
}

}  // namespace

cudaError_t LaunchEdges(const ExplicitConvolution& op, const ExplicitView& view,
                        const ChunkPhase& phase, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(view.groups * kGroup / kChannels),
                    static_cast<unsigned>(phase.count));
  shape.block = dim3(kThreads);
  shape.shared_bytes = sizeof(EdgeMemory);
  shape.stream = stream;
  return Launch(shape, ChunkEdges, op, view, phase);
}

}  // namespace chela::cuda
