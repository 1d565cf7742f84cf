// What a part of a thread block does with the rows of its channels in a chunk
// of the explicit convolution: into shared memory, and out again.
#ifndef CHELA_KERNELS_CUDA_EXPLICIT_BLOCK_ROWS_CUH_
#define CHELA_KERNELS_CUDA_EXPLICIT_BLOCK_ROWS_CUH_

#include "kernels/cuda/explicit_state.cuh"
#include "kernels/cuda/explicit_warp_transform.cuh"

namespace chela::cuda {

// A warp has one channel. Eight warps have eight channels of one chunk, a part,
// and move their rows together, a sector of 32 bytes a row: a thread has four
// of the channels of every kRowStep-th row.
inline constexpr int kPartChannels = 8;
inline constexpr int kPartThreads = 32 * kPartChannels;
inline constexpr int kRowThreads = 2;  // that move a row
inline constexpr int kRowChannels = kPartChannels / kRowThreads;
inline constexpr int kRowStep = kPartThreads / kRowThreads;
inline constexpr int kRowsAThread = kBlock / kRowStep;
// Transformed inputs that outputs find, one more in registers.
inline constexpr int kStored = 3;
inline constexpr int kBatch = kStored + 1;

struct PartMemory {
  float4 spectra[kPartChannels][kStored][kBlock / 2];  // each thread its own
  // Planes four apart meet other banks: the two halves of a row go there at
  // once.
  float planes[kPartChannels][kPlane + 4];
  float2 back[kBackRoots][32];  // see MakeBackRoots
};

// What the threads of one part share.
struct Work {
  const float* a = nullptr;  // of the chunk's first token and this part
  float* c = nullptr;
  const float* skip = nullptr;
  float* state = nullptr;  // row 0, this part's first channel
  int width = 0;           // of a and c
  int stride = 0;          // of the state
  int channels = 0;        // of this part
  int mask = 0;            // M - 1
  // Rows relative to the chunk's first token: its end, the sequence's start,
  // the first that no tile had reached before.
  int end = 0;
  int origin = 0;
  int untouched = 0;
  int64_t first = 0;  // tau of that token
};

using FourChannels = Channels<kRowChannels>;

template <bool kWide>
__device__ __forceinline__ FourChannels LoadRow(const float* from,
                                                int channels) {
  FourChannels out;
  if constexpr (kWide) {
    out = LoadFresh<kRowChannels>(from);
  } else {
#pragma unroll
    for (int i = 0; i < kRowChannels; ++i) {
      if (i < channels) out.v[i] = __ldcg(from + i);
    }
  }
  return out;
}
template <bool kWide>
__device__ __forceinline__ void StoreRow(const FourChannels& x, float* to,
                                         int channels) {
  if constexpr (kWide) {
    Store(x, to);
  } else {
#pragma unroll
    for (int i = 0; i < kRowChannels; ++i) {
      if (i < channels) to[i] = x.v[i];
    }
  }
}

// Where this thread's first row of a block stands; the next one is
// kPartThreads rows on. A block's rows of the state stand together.
struct RowPlace {
  int row = 0;  // relative to the chunk's first token
  float* state = nullptr;
};
__device__ __forceinline__ RowPlace PlaceOfRows(const Work& work, int first) {
  const int thread = static_cast<int>(threadIdx.x) / kRowThreads;
  const int in_ring = static_cast<int>(work.first + first) & work.mask;
  return {first + thread, work.state + (in_ring + thread) * work.stride};
}
__device__ __forceinline__ int64_t TokenOffset(const Work& work, int row) {
  return int64_t{min(max(row, 0), work.end - 1)} * work.width;
}

// The rows of a block of inputs from `first` on. Every load has an address that
// may be read, so that they are all in flight at once; what is not there is 0.
template <bool kWide>
__device__ __forceinline__ void LoadInputs(const Work& work, int first,
                                           FourChannels (&x)[kRowsAThread]) {
  const RowPlace place = PlaceOfRows(work, first);
#pragma unroll
  for (int u = 0; u < kRowsAThread; ++u) {
    const int row = place.row + u * kRowStep;
    const float* const from = row < 0 ? place.state + u * kRowStep * work.stride
                                      : work.a + TokenOffset(work, row);
    x[u] = LoadRow<kWide>(from, work.channels);
  }
#pragma unroll
  for (int u = 0; u < kRowsAThread; ++u) {
    const int row = place.row + u * kRowStep;
    if (row < work.origin || row >= work.end) x[u] = FourChannels();
  }
}
// Into the planes, one a channel.
__device__ __forceinline__ void StageInputs(
    const FourChannels (&x)[kRowsAThread], PartMemory& memory) {
  const int thread = static_cast<int>(threadIdx.x) / kRowThreads;
  const int half = static_cast<int>(threadIdx.x) % kRowThreads * kRowChannels;
  __syncthreads();
#pragma unroll
  for (int u = 0; u < kRowsAThread; ++u) {
    const int place = PlaceOf(u * kRowStep + thread);
#pragma unroll
    for (int i = 0; i < kRowChannels; ++i) {
      memory.planes[half + i][place] = x[u].v[i];
    }
  }
  __syncthreads();
}

// Which outputs of a block a sum of products is for.
struct Outputs {
  int first = 0;  // row 0 of the block, relative to the chunk's first token
  // An earlier batch has added to them; if none has, their inputs go into the
  // state as well.
  bool begun = false;
};

// What the outputs are added to, and the inputs of those that begin.
struct OutputRows {
  FourChannels sums[kRowsAThread];
  FourChannels inputs[kRowsAThread];
};
template <bool kWide>
__device__ __forceinline__ void LoadOutputs(const Work& work,
                                            const Outputs& outputs,
                                            OutputRows* rows) {
  const RowPlace place = PlaceOfRows(work, outputs.first);
  if (!outputs.begun && outputs.first < work.end) {
#pragma unroll
    for (int u = 0; u < kRowsAThread; ++u) {
      const int row = place.row + u * kRowStep;
      rows->inputs[u] =
          LoadRow<kWide>(work.a + TokenOffset(work, row), work.channels);
    }
  }
  if (!outputs.begun && outputs.first >= work.untouched) return;
#pragma unroll
  for (int u = 0; u < kRowsAThread; ++u) {
    const int row = place.row + u * kRowStep;
    const float* const from = outputs.begun && row < work.end
                                  ? work.c + TokenOffset(work, row)
                                  : place.state + u * kRowStep * work.stride;
    rows->sums[u] = LoadRow<kWide>(from, work.channels);
    if (!outputs.begun && row >= work.untouched) {
      rows->sums[u] = FourChannels();
    }
  }
}

// Adds the planes to them: to c in the chunk, to the state beyond.
template <bool kWide>
__device__ __forceinline__ void StoreOutputs(const Work& work,
                                             const Outputs& outputs,
                                             const OutputRows& rows,
                                             const PartMemory& memory) {
  const int thread = static_cast<int>(threadIdx.x) / kRowThreads;
  const int half = static_cast<int>(threadIdx.x) % kRowThreads * kRowChannels;
  const RowPlace place = PlaceOfRows(work, outputs.first);
  const FourChannels skip = LoadRow<kWide>(work.skip, work.channels);
  __syncthreads();
  FourChannels y[kRowsAThread];
#pragma unroll
  for (int u = 0; u < kRowsAThread; ++u) {
    const int at = PlaceOf(u * kRowStep + thread);
#pragma unroll
    for (int i = 0; i < kRowChannels; ++i)
      y[u].v[i] = memory.planes[half + i][at];
  }
  __syncthreads();
#pragma unroll
  for (int u = 0; u < kRowsAThread; ++u) {
    const int row = place.row + u * kRowStep;
    const bool beyond = row >= work.end;
    const bool begins = !outputs.begun && !beyond;
    FourChannels sum = rows.sums[u];
    if (begins) AddProduct(skip, rows.inputs[u], &sum);
    Add(sum, &y[u]);
    if (row < 0) continue;
    if (!beyond) {
      StoreRow<kWide>(y[u], work.c + int64_t{row} * work.width, work.channels);
    }
    if (begins) y[u] = rows.inputs[u];
    if (beyond || begins) {
      StoreRow<kWide>(y[u], place.state + u * kRowStep * work.stride,
                      work.channels);
    }
  }
}

__device__ __forceinline__ Work WorkOf(const ExplicitConvolution& op,
                                       const ExplicitView& view,
                                       const GroupState& state,
                                       const Chunk& chunk, int first_channel) {
  Work work;
  work.first = chunk.position + state.origin;
  first_channel += static_cast<int>(threadIdx.x) % kRowThreads * kRowChannels;
  const int channel = state.channel + first_channel;
  const int64_t at = int64_t{chunk.first_row} * view.width + channel;
  work.a = op.a + at;
  work.c = op.c + at;
  work.skip = op.skip + channel;
  work.state = state.rows + first_channel;
  work.width = view.width;
  work.stride = state.channels;
  work.channels = min(kRowChannels, state.channels - first_channel);
  work.mask = view.ring - 1;
  work.end = chunk.rows;
  work.origin = static_cast<int>(max(-chunk.position, int64_t{INT32_MIN}));
  // Rows of the next period still hold this one's inputs.
  const int64_t period_end = ((work.first >> view.log_ring) + 1)
                             << view.log_ring;
  work.untouched = static_cast<int>(
      min(FirstUntouched(view, state.origin, work.first), period_end) -
      work.first);
  return work;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_EXPLICIT_BLOCK_ROWS_CUH_
