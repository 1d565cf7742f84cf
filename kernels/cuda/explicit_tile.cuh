// A tile of the explicit convolution by a block of threads: of 128 rows or more
// for as many channels as kTileThreads threads can hold, so that blocks cost
// about the same whatever their tile's size.
#ifndef CHELA_KERNELS_CUDA_EXPLICIT_TILE_CUH_
#define CHELA_KERNELS_CUDA_EXPLICIT_TILE_CUH_

#include "kernels/cuda/explicit_state.cuh"
#include "kernels/cuda/explicit_transform.cuh"

namespace chela::cuda {

inline constexpr size_t kPlaneBytes = 64 * 1024;  // 16384 floats

// Shared memory of a block.
struct TileMemory {
  float* plane = nullptr;              // kPlaneBytes
  float* inputs = nullptr;             // of Ask, kPlaneBytes, or none
  const volatile int* zero = nullptr;  // holds 0
};

struct TileWork {
  const float2* spectrum = nullptr;  // of these channels
  const float2* roots = nullptr;
  TileMemory memory;
};

__device__ __forceinline__ void Multiply(Complex* x, float2 g) {
  *x = {fmaf(x->re, g.x, -(x->im * g.y)), fmaf(x->re, g.y, x->im * g.x)};
}

// From the rows of one pass to those of another.
template <int kLogSize, int kFrom, int kTo>
__device__ __forceinline__ void Exchange(Complex* x, int peer, int channel,
                                         const TileMemory& memory) {
  float* const plane = memory.plane;
  const auto anew = [&] { return Anew(peer, memory.zero); };
  __syncthreads();
  Scatter<kLogSize, kFrom, &Complex::re>(x, anew(), channel, plane);
  __syncthreads();
  Gather<kLogSize, kTo, &Complex::re>(plane, anew(), channel, x);
  __syncthreads();
  Scatter<kLogSize, kFrom, &Complex::im>(x, anew(), channel, plane);
  __syncthreads();
  Gather<kLogSize, kTo, &Complex::im>(plane, anew(), channel, x);
}

template <int kLogSize, int kDone>
__device__ __forceinline__ void Convolve(Complex* x, int peer, int channel,
                                         const TileWork& work) {
  using P = Pass<kLogSize, kDone>;
  SplitPass<kLogSize, kDone>(x, Anew(peer, work.memory.zero), work.roots);
  if constexpr (P::kNext == kLogSize) {
#pragma unroll
    for (int i = 0; i < TransformShape<kLogSize>::kHeld; ++i) {
      Multiply(x + i, __ldcg(work.spectrum + i * kTileThreads + threadIdx.x));
    }
  } else {
    Exchange<kLogSize, kDone, P::kNext>(x, peer, channel, work.memory);
    Convolve<kLogSize, P::kNext>(x, peer, channel, work);
    Exchange<kLogSize, P::kNext, kDone>(x, peer, channel, work.memory);
  }
  JoinPass<kLogSize, kDone>(x, Anew(peer, work.memory.zero), work.roots);
}

// `loaded` is called as soon as the tile's inputs have been read.
template <int kLogSize, typename Loaded>
__device__ __forceinline__ void RunTransform(const TileRows& tile,
                                             const TileWork& work,
                                             const Loaded& loaded) {
  using Shape = TransformShape<kLogSize>;
  using P = Pass<kLogSize, 0>;
  const int channel = static_cast<int>(threadIdx.x) % Shape::kChannels;
  const int peer = static_cast<int>(threadIdx.x) / Shape::kChannels;
  Complex x[Shape::kHeld];
  if (work.memory.inputs != nullptr) {
    asm volatile("cp.async.wait_all;" ::: "memory");
#pragma unroll
    for (int j = 0; j < Shape::kHeld; ++j) {
      x[j].re = work.memory.inputs[j * kTileThreads + threadIdx.x];
    }
  } else {
#pragma unroll
    for (int j = 0; j < Shape::kHeld; ++j) {
      x[j].re = ReadTile(tile, (j << P::kLogStride) + peer, channel);
    }
  }
  loaded();
  Convolve<kLogSize, 0>(x, peer, channel, work);
  // All old values before the first write, so that their loads are in flight
  // together; the real parts are not needed any more.
  const int first = Anew(peer, work.memory.zero);
#pragma unroll
  for (int j = 0; j < Shape::kHeld; ++j) {
    x[j].re = ReadOld(tile, (j << P::kLogStride) + first, channel);
  }
#pragma unroll
  for (int j = 0; j < Shape::kHeld; ++j) {
    WriteTile(tile, (j << P::kLogStride) + first, channel, x[j].re + x[j].im);
  }
}

__device__ __forceinline__ int PartsOf(int log_size) {
  return log_size < kMinLogTransform ? 1 : kGroup >> LogChannelsOf(log_size);
}

__device__ __forceinline__ void PrefetchFar(const void* at) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
}

// Of part `part` of the channels of a tile.
__device__ __forceinline__ const float2* SpectrumOf(const ExplicitView& view,
                                                    int group, int log_size,
                                                    int part) {
  return view.spectra +
         int64_t{group} * (2 * view.ring - kDirectTaps) * kGroup +
         ((1 << log_size) - kDirectTaps) * kGroup +
         (part << (log_size + LogChannelsOf(log_size)));
}

// Asks for the inputs of a tile of 2^kMinLogAsk rows or more, each thread for
// those that it takes, and has what is added to and the spectrum (of a
// transform) come as near as the second-level cache.
inline constexpr int kMinLogAsk = 4;
__device__ __forceinline__ void Ask(const TileRows& tile, int log_size,
                                    const float2* spectrum, float* inputs) {
  const int log_stride = log_size - LogHeldOf(log_size);
  const int log_channels = LogChannelsOf(log_size);
  const int channel = static_cast<int>(threadIdx.x) & ((1 << log_channels) - 1);
  const int peer = static_cast<int>(threadIdx.x) >> log_channels;
  auto to = static_cast<uint32_t>(__cvta_generic_to_shared(inputs)) +
            threadIdx.x * uint32_t{sizeof(float)};
#pragma unroll 4
  for (int n = peer; n < 1 << log_size; n += 1 << log_stride) {
    const bool there = channel < tile.channels && n >= tile.skipped;
    const float* const from =
        tile.x + (there ? int64_t{n} * tile.stride + channel : 0);
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to),
                 "l"(from), "r"(there ? 4 : 0)
                 : "memory");
    to += kTileThreads * uint32_t{sizeof(float)};
    if (channel == 0 && tile.add) {
      PrefetchFar(tile.y + int64_t{n} * tile.stride);
    }
  }
  if (log_size < kMinLogTransform) return;
  constexpr int kLine = 128 / sizeof(float2);
  for (int i = static_cast<int>(threadIdx.x) * kLine;
       i < 1 << (log_size + log_channels); i += kTileThreads * kLine) {
    PrefetchFar(spectrum + i);
  }
}

// Part `part` of the channels of a tile; `tile` begins with its first channel.
template <typename Loaded>
__device__ __forceinline__ void RunTile(const ExplicitView& view, int group,
                                        int log_size, int part,
                                        const TileRows& tile,
                                        const TileMemory& memory,
                                        const Loaded& loaded) {
  const int size = 1 << log_size;
  TileWork work;
  work.spectrum = SpectrumOf(view, group, log_size, part);
  work.roots = view.roots;
  work.memory = memory;
  switch (log_size) {
    case 7:
      return RunTransform<7>(tile, work, loaded);
    case 8:
      return RunTransform<8>(tile, work, loaded);
    case 9:
      return RunTransform<9>(tile, work, loaded);
    case 10:
      return RunTransform<10>(tile, work, loaded);
    case 11:
      return RunTransform<11>(tile, work, loaded);
    case 12:
      return RunTransform<12>(tile, work, loaded);
    case 13:
      return RunTransform<13>(tile, work, loaded);
    case 14:
      return RunTransform<14>(tile, work, loaded);
    default:
      return RunDirectTile(tile, size, TapsOf(view, group), memory.plane,
                           log_size < kMinLogAsk ? nullptr : memory.inputs,
                           loaded);
  }
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_EXPLICIT_TILE_CUH_
