// A tile of the explicit convolution by a block of threads: of 128 rows or more
// for as many channels as kTileThreads threads can hold, so that blocks cost
// about the same whatever their tile's size.
#ifndef CHELA_KERNELS_CUDA_EXPLICIT_TILE_CUH_
#define CHELA_KERNELS_CUDA_EXPLICIT_TILE_CUH_

#include "kernels/cuda/explicit_state.cuh"
#include "kernels/cuda/explicit_transform.cuh"

namespace chela::cuda {

inline constexpr size_t kPlaneBytes = 64 * 1024;  // 16384 floats

struct TileWork {
  const float2* spectrum = nullptr;  // of these channels
  const float2* roots = nullptr;
  float* plane = nullptr;  // shared memory
};

__device__ __forceinline__ void Multiply(Complex* x, float2 g) {
  *x = {fmaf(x->re, g.x, -(x->im * g.y)), fmaf(x->re, g.y, x->im * g.x)};
}

// From the rows of one pass to those of another.
template <int kLogSize, int kFrom, int kTo>
__device__ __forceinline__ void Exchange(Complex* x, int peer, int channel,
                                         float* plane) {
  __syncthreads();
  Scatter<kLogSize, kFrom, &Complex::re>(x, peer, channel, plane);
  __syncthreads();
  Gather<kLogSize, kTo, &Complex::re>(plane, peer, channel, x);
  __syncthreads();
  Scatter<kLogSize, kFrom, &Complex::im>(x, peer, channel, plane);
  __syncthreads();
  Gather<kLogSize, kTo, &Complex::im>(plane, peer, channel, x);
}

template <int kLogSize, int kDone>
__device__ __forceinline__ void Convolve(Complex* x, int peer, int channel,
                                         const TileWork& work) {
  using P = Pass<kLogSize, kDone>;
  SplitPass<kLogSize, kDone>(x, peer, work.roots);
  if constexpr (P::kNext == kLogSize) {
#pragma unroll
    for (int i = 0; i < TransformShape<kLogSize>::kHeld; ++i) {
      if (i % 8 == 0) asm volatile("" ::: "memory");
      Multiply(x + i, __ldcg(work.spectrum + i * kTileThreads + threadIdx.x));
    }
  } else {
    Exchange<kLogSize, kDone, P::kNext>(x, peer, channel, work.plane);
    Convolve<kLogSize, P::kNext>(x, peer, channel, work);
    Exchange<kLogSize, P::kNext, kDone>(x, peer, channel, work.plane);
  }
  JoinPass<kLogSize, kDone>(x, peer, work.roots);
}

template <int kLogSize>
__device__ __forceinline__ void RunTransform(const TileRows& tile,
                                             const TileWork& work) {
  using Shape = TransformShape<kLogSize>;
  using P = Pass<kLogSize, 0>;
  const int channel = static_cast<int>(threadIdx.x) % Shape::kChannels;
  const int peer = static_cast<int>(threadIdx.x) / Shape::kChannels;
  Complex x[Shape::kHeld];
#pragma unroll
  for (int j = 0; j < Shape::kHeld; ++j) {
    x[j].re = ReadTile(tile, (j << P::kLogStride) + peer, channel);
  }
  Convolve<kLogSize, 0>(x, peer, channel, work);
#pragma unroll
  for (int j = 0; j < Shape::kHeld; ++j) {
    WriteTile(tile, (j << P::kLogStride) + peer, channel, x[j].im);
  }
}

__device__ __forceinline__ int PartsOf(int log_size) {
  return log_size < kMinLogTransform ? 1 : kGroup >> LogChannelsOf(log_size);
}

// Part `part` of the channels of a tile; `tile` begins with its first channel.
__device__ __forceinline__ void RunTile(const ExplicitView& view, int group,
                                        int log_size, int part,
                                        const TileRows& tile, float* shared) {
  const int size = 1 << log_size;
  TileWork work;
  work.spectrum = view.spectra +
                  int64_t{group} * (2 * view.ring - kDirectTaps) * kGroup +
                  (size - kDirectTaps) * kGroup +
                  (part << (log_size + LogChannelsOf(log_size)));
  work.roots = view.roots;
  work.plane = shared;
  switch (log_size) {
    case 7:
      return RunTransform<7>(tile, work);
    case 8:
      return RunTransform<8>(tile, work);
    case 9:
      return RunTransform<9>(tile, work);
    case 10:
      return RunTransform<10>(tile, work);
    case 11:
      return RunTransform<11>(tile, work);
    case 12:
      return RunTransform<12>(tile, work);
    case 13:
      return RunTransform<13>(tile, work);
    case 14:
      return RunTransform<14>(tile, work);
    default:
      return RunDirectTile(tile, size, TapsOf(view, group), shared);
  }
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_EXPLICIT_TILE_CUH_
