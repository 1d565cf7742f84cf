// What CudaExplicitKernel makes at load.
#include "kernels/cuda/explicit_blocks.cuh"
#include "kernels/cuda/explicit_transform.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr int kThreads = 256;

__device__ float TapAt(const ExplicitView& view, const float* raw,
                       int64_t length, int64_t channel, int64_t lag) {
  return channel < view.width && lag >= 0 && lag < length
             ? raw[channel * length + lag]
             : 0.0f;
}

__global__ void __launch_bounds__(kThreads)
    MakeTaps(const __grid_constant__ ExplicitView view, const float* raw,
             int64_t length, float* taps) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at >= int64_t{view.groups} * kDirectTaps * kGroup) return;
  const int64_t lane = at % kGroup;
  const int64_t lag = at / kGroup % kDirectTaps;
  const int64_t group = at / (kGroup * kDirectTaps);
  taps[at] = TapAt(view, raw, length, group * kGroup + lane, lag);
}

__global__ void __launch_bounds__(kThreads)
    MakeLags(const __grid_constant__ ExplicitView view, const float* raw,
             int64_t length, float* lags) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at >= int64_t{view.groups} * kGroup * kBlock) return;
  lags[at] = TapAt(view, raw, length, at / kBlock, at % kBlock);
}

// e^(i theta/2) in float64; theta as in fft.h, in closed form.
__device__ double2 Root(int depth, int node) {
  const double reversed =
      depth == 0 ? 0.0
                 : static_cast<double>(__brev(static_cast<unsigned>(node)) >>
                                       (32 - depth));
  const double turns = ldexp(0.25 + reversed, -depth);  // of half a circle
  double2 root;
  sincospi(turns, &root.y, &root.x);
  return root;
}

// x := the transform of g_n = h_(first + n) + i h_(first + size + n), by a
// block of threads. The tap at `first` meets no output of a tile; it is left
// out to keep it from adding rounding errors. Divided by size, so that tiles
// need not.
__device__ void TransformTaps(const ExplicitView& view, const float* raw,
                              int64_t length, int channel, int64_t first,
                              int log_size, double2* x) {
  const int size = 1 << log_size;
  __syncthreads();
  for (int n = static_cast<int>(threadIdx.x); n < size; n += kThreads) {
    const auto tap = [&](int64_t lag) {
      return TapAt(view, raw, length, channel, lag) / double(size);
    };
    x[n] = {n == 0 ? 0.0 : tap(first + n), tap(first + size + n)};
  }
  for (int depth = 0; depth < log_size; ++depth) {
    const int log_half = log_size - depth - 1;
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < size / 2; i += kThreads) {
      const int block = i >> log_half;
      const int a = (block << (log_half + 1)) | (i & ((1 << log_half) - 1));
      const int b = a + (1 << log_half);
      const double2 w = Root(depth, block);
      const double2 low = x[a];
      const double2 high = {w.x * x[b].x - w.y * x[b].y,
                            w.x * x[b].y + w.y * x[b].x};
      x[a] = {low.x + high.x, low.y + high.y};
      x[b] = {low.x - high.x, low.y - high.y};
    }
  }
  __syncthreads();
}

__device__ float2 Rounded(double2 x) {
  return {static_cast<float>(x.x), static_cast<float>(x.y)};
}

// A block makes the spectra of one channel, one after the other.
__global__ void __launch_bounds__(kThreads)
    MakeSpectra(const __grid_constant__ ExplicitView view, const float* raw,
                int64_t length, int first_channel, double2* scratch,
                float2* spectra) {
  const int channel = first_channel + static_cast<int>(blockIdx.x);
  const int group = channel / kGroup;
  double2* const x = scratch + int64_t{blockIdx.x} * view.ring;
  float2* out =
      spectra + int64_t{group} * (2 * view.ring - kDirectTaps) * kGroup;
  for (int log_size = kMinLogTransform; log_size <= view.log_ring; ++log_size) {
    const int size = 1 << log_size;
    TransformTaps(view, raw, length, channel, 0, log_size, x);
    for (int n = static_cast<int>(threadIdx.x); n < size; n += kThreads) {
      out[SpectrumIndex(log_size, n, channel % kGroup)] = Rounded(x[n]);
    }
    out += size * kGroup;
  }
}

__global__ void __launch_bounds__(kThreads)
    MakeBlockSpectra(const __grid_constant__ ExplicitView view,
                     const float* raw, int64_t length, int first_channel,
                     double2* scratch, float2* blocks) {
  const int channel = first_channel + static_cast<int>(blockIdx.x);
  double2* const x = scratch + int64_t{blockIdx.x} * view.ring;
  const int distances = BlockDistances(view);
  float2* out = blocks + int64_t{channel} * distances * kBlock;
  for (int distance = 0; distance < distances; ++distance) {
    TransformTaps(view, raw, length, channel, (distance - 1) * kBlock,
                  kLogBlock, x);
    for (int n = static_cast<int>(threadIdx.x); n < kBlock; n += kThreads) {
      out[BlockSpectrumIndex(n)] = Rounded(x[n]);
    }
    out += kBlock;
  }
}

// `make`: one of the two.
template <typename Kernel>
cudaError_t LaunchByChannels(const ExplicitView& view, Kernel make,
                             const float* raw, int64_t length, double2* scratch,
                             float2* out, cudaStream_t stream) {
  const int channels = view.groups * kGroup;
  LaunchShape shape;
  shape.block = dim3(kThreads);
  shape.stream = stream;
  for (int first = 0; first < channels; first += kSpectrumChannels) {
    const int count = channels - first < kSpectrumChannels ? channels - first
                                                           : kSpectrumChannels;
    shape.grid = dim3(static_cast<unsigned>(count));
    const cudaError_t error =
        Launch(shape, make, view, raw, length, first, scratch, out);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace

cudaError_t LaunchMakeTaps(const ExplicitView& view, const float* raw,
                           int64_t length, float* taps, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid =
      dim3(Blocks(int64_t{view.groups} * kDirectTaps * kGroup, kThreads));
  shape.block = dim3(kThreads);
  shape.stream = stream;
  return Launch(shape, MakeTaps, view, raw, length, taps);
}

cudaError_t LaunchMakeLags(const ExplicitView& view, const float* raw,
                           int64_t length, float* lags, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid = dim3(Blocks(int64_t{view.groups} * kGroup * kBlock, kThreads));
  shape.block = dim3(kThreads);
  shape.stream = stream;
  return Launch(shape, MakeLags, view, raw, length, lags);
}

cudaError_t LaunchMakeSpectra(const ExplicitView& view, const float* raw,
                              int64_t length, double2* scratch, float2* spectra,
                              cudaStream_t stream) {
  return LaunchByChannels(view, MakeSpectra, raw, length, scratch, spectra,
                          stream);
}

cudaError_t LaunchMakeBlockSpectra(const ExplicitView& view, const float* raw,
                                   int64_t length, double2* scratch,
                                   float2* blocks, cudaStream_t stream) {
  return LaunchByChannels(view, MakeBlockSpectra, raw, length, scratch, blocks,
                          stream);
}

}  // namespace chela::cuda
