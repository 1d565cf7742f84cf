// What kernels of the explicit convolution share: where a group's state stands,
// what of it is a sequence's own, and the sums that need no transform.
#ifndef CHELA_KERNELS_CUDA_EXPLICIT_STATE_CUH_
#define CHELA_KERNELS_CUDA_EXPLICIT_STATE_CUH_

#include "kernels/cuda/channels.cuh"
#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/explicit_convolution.h"
#include "kernels/explicit_layout.h"

namespace chela::cuda {

inline constexpr int kGroup = static_cast<int>(kGroupChannels);
inline constexpr int kNear = static_cast<int>(kNearTaps);

// One group of channels of one slot. tau = position + origin; row tau mod M.
struct GroupState {
  float* rows = nullptr;  // [M, channels]
  int channels = 0;
  int channel = 0;  // its first one
  int64_t origin = 0;
};

__device__ __forceinline__ GroupState StateOf(const StateView& state,
                                              int32_t layer,
                                              const ExplicitView& view,
                                              int32_t slot, int group) {
  GroupState out;
  out.channel = group * kGroup;
  out.channels = min(kGroup, view.width - out.channel);
  out.rows =
      state.data + slot * state.slot_stride + int64_t{out.channel} * view.ring;
  const int64_t unit = int64_t{layer} * view.groups + group;
  out.origin =
      ((unit & (view.ring - 1)) * view.origin_stride) & (view.ring - 1);
  return out;
}

__device__ __forceinline__ GroupState StateOf(const ExplicitConvolution& op,
                                              const ExplicitView& view,
                                              int32_t slot, int group) {
  return StateOf(op.state, op.layer, view, slot, group);
}

__device__ __forceinline__ const float* TapsOf(const ExplicitView& view,
                                               int group) {
  return view.taps + int64_t{group} * kDirectTaps * kGroup;
}

// Size of the tile that ends before `tau`: the input at tau - 1 was its last.
__device__ __forceinline__ int TileSize(const ExplicitView& view, int64_t tau) {
  const int64_t low_bit = tau & -tau;
  return low_bit < view.ring ? static_cast<int>(low_bit) : view.ring;
}

// The first row of the sequence's time (tau) that no tile has reached when the
// token at `tau` comes: rows from there on hold another sequence's leavings.
__device__ __forceinline__ int64_t FirstUntouched(const ExplicitView& view,
                                                  int64_t origin, int64_t tau) {
  if (tau - origin >= view.ring) return INT64_MAX;
  int64_t reached = 0;
  for (int64_t size = min(view.ring, kNear); size <= view.ring; size *= 2) {
    const int64_t start =
        size == view.ring ? tau & -size : ((tau + size) & -(2 * size)) - size;
    // A tile at or before the first token had no input and never ran.
    if (start > origin && start + size > reached) reached = start + size;
  }
  return reached;
}

// The pending output of a token's row and what the `near` inputs just before it
// add, in every lane that owns channels: four sums by lag mod 4, each
// ascending, then (1 + 2) + (3 + 4). With V = 4 eight lanes own a row and four
// rows are read at once; with V = 1 a lane owns a channel.
template <int V>
__device__ __forceinline__ Channels<V> SumNearInputs(const float* taps,
                                                     const float* row,
                                                     int channels, int near,
                                                     bool pending) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  Channels<V> sum;
  if constexpr (V == 4) {
    const int channel = lane % 8 * 4;
    const bool there = channel < channels;
#pragma unroll
    for (int i = 0; i < kNear / 4; ++i) {
      const int lag = 1 + lane / 8 + 4 * i;
      if (lag <= near && there) {
        AddProduct(Load<V>(taps + lag * kGroup + channel),
                   Load<V>(row - lag * channels + channel), &sum);
      }
    }
#pragma unroll
    for (int i = 0; i < V; ++i) {
      sum.v[i] += __shfl_xor_sync(kWholeWarp, sum.v[i], 8);
      sum.v[i] += __shfl_xor_sync(kWholeWarp, sum.v[i], 16);
    }
    if (pending && there) Add(Load<V>(row + channel), &sum);
  } else if (lane < channels) {
    float parts[4] = {};
    for (int lag = 1; lag <= near; lag += 4) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (lag + i > near) break;
        parts[i] = fmaf(taps[(lag + i) * kGroup + lane],
                        row[lane - (lag + i) * channels], parts[i]);
      }
    }
    sum.v[0] = (parts[0] + parts[1]) + (parts[2] + parts[3]);
    if (pending) sum.v[0] = row[lane] + sum.v[0];
  }
  return sum;
}

// A tile of the explicit convolution, of the channels that a block has. Input n
// of those before `skipped` is 0. Output n is added to `c` before `split`, else
// it is added to `y` or replaces what is there.
struct TileRows {
  const float* x = nullptr;
  float* y = nullptr;
  int stride = 0;    // of x and y
  int channels = 0;  // there are, from the first one on
  int skipped = 0;
  bool add = false;
  int split = 0;
  float* c = nullptr;
  int c_stride = 0;
};

__device__ __forceinline__ float ReadTile(const TileRows& tile, int n,
                                          int channel) {
  return n >= tile.skipped && channel < tile.channels
             ? __ldcg(tile.x + int64_t{n} * tile.stride + channel)
             : 0.0f;
}
// What output n is added to; 0 where it replaces.
__device__ __forceinline__ float ReadOld(const TileRows& tile, int n,
                                         int channel) {
  if (channel >= tile.channels) return 0.0f;
  if (n < tile.split) {
    return __ldcg(tile.c + int64_t{n} * tile.c_stride + channel);
  }
  return tile.add ? __ldcg(tile.y + int64_t{n} * tile.stride + channel) : 0.0f;
}
__device__ __forceinline__ void WriteTile(const TileRows& tile, int n,
                                          int channel, float value) {
  if (channel >= tile.channels) return;
  if (n < tile.split) {
    tile.c[int64_t{n} * tile.c_stride + channel] = value;
  } else {
    tile.y[int64_t{n} * tile.stride + channel] = value;
  }
}

// A tile of up to 16 kOutputs rows by its definition, by a block of 16 warps.
// taps: of the group. shared: [kDirectTile, kGroup]. inputs: those of the tile
// likewise, on their way to shared memory, or null. `loaded` is called when
// they have been read.
template <int kOutputs, typename Loaded>
__device__ __forceinline__ void SumTile(const TileRows& tile, int size,
                                        const float* taps, float* shared,
                                        const float* inputs,
                                        const Loaded& loaded) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  if (inputs != nullptr) asm volatile("cp.async.wait_all;" ::: "memory");
  __syncthreads();
  for (int n = warp; n < size; n += 16) {
    shared[n * kGroup + lane] =
        inputs != nullptr ? inputs[n * kGroup + lane] : ReadTile(tile, n, lane);
  }
  loaded();
  __syncthreads();
  const int first = warp * kOutputs;
  if (first >= size) return;
  float window[kOutputs];
  float old[kOutputs];
  float sums[kOutputs] = {};
#pragma unroll
  for (int k = 0; k < kOutputs; ++k) {
    window[k] = taps[(size + first + k) * kGroup + lane];
    old[k] = ReadOld(tile, first + k, lane);
  }
#pragma unroll 8
  for (int j = 0; j < size; ++j) {
    const float x = shared[j * kGroup + lane];
#pragma unroll
    for (int k = 0; k < kOutputs; ++k) sums[k] = fmaf(window[k], x, sums[k]);
#pragma unroll
    for (int k = kOutputs - 1; k > 0; --k) window[k] = window[k - 1];
    window[0] = taps[(size + first - j - 1) * kGroup + lane];
  }
#pragma unroll
  for (int k = 0; k < kOutputs; ++k) {
    WriteTile(tile, first + k, lane, old[k] + sums[k]);
  }
}

template <typename Loaded>
__device__ __forceinline__ void RunDirectTile(const TileRows& tile, int size,
                                              const float* taps, float* shared,
                                              const float* inputs,
                                              const Loaded& loaded) {
  if (size == kDirectTile) {
    SumTile<4>(tile, size, taps, shared, inputs, loaded);
  } else if (size == kDirectTile / 2) {
    SumTile<2>(tile, size, taps, shared, inputs, loaded);
  } else {
    SumTile<1>(tile, size, taps, shared, inputs, loaded);
  }
}

// The tile that ends before `tau`, of a group from its channel `first` on, as a
// token at tau - 1 leaves it: all outputs are pending.
__device__ __forceinline__ TileRows PendingTile(const ExplicitView& view,
                                                const GroupState& state,
                                                int64_t tau, int size,
                                                int first) {
  const int64_t start = tau - size;
  TileRows tile;
  tile.stride = state.channels;
  tile.channels = state.channels - first;
  tile.x = state.rows + (start & (view.ring - 1)) * state.channels + first;
  tile.y = state.rows + (tau & (view.ring - 1)) * state.channels + first;
  tile.skipped =
      start < state.origin ? static_cast<int>(state.origin - start) : 0;
  tile.add =
      size < view.ring && tau < FirstUntouched(view, state.origin, tau - 1);
  return tile;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_EXPLICIT_STATE_CUH_
