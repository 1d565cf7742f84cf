// The transform of tiles of the explicit convolution, the maths of
// kernels/cpu/fft.h: X_k of x_n modulo z^U = i by splitting the modulus, times
// the spectrum of g_n = h_n + i h_{n+U}, joined again; the outputs are the
// imaginary parts. Nothing is permuted.
//
// A block of kTileThreads threads has U x C = 16384 points (fewer below
// U = 512), C channels side by side, and holds them in registers: kHeld a
// thread. In a pass a thread has all rows that its stages combine; between
// passes rows change hands through shared memory.
#ifndef CHELA_KERNELS_CUDA_EXPLICIT_TRANSFORM_CUH_
#define CHELA_KERNELS_CUDA_EXPLICIT_TRANSFORM_CUH_

#include <utility>

#include "kernels/cuda/explicit_roots.cuh"

namespace chela::cuda {

inline constexpr int kTileThreads = 512;
inline constexpr int kLogTileThreads = 9;
inline constexpr int kMinLogTransform = 7;

__host__ __device__ constexpr int LogChannelsOf(int log_size) {
  return log_size >= 9 ? 14 - log_size : 5;
}
__host__ __device__ constexpr int LogHeldOf(int log_size) {
  const int log_points = log_size + LogChannelsOf(log_size);
  return log_points - kLogTileThreads < 5 ? log_points - kLogTileThreads : 5;
}

template <int kLogSize>
struct TransformShape {
  static constexpr int kSize = 1 << kLogSize;
  static constexpr int kLogChannels = LogChannelsOf(kLogSize);
  static constexpr int kChannels = 1 << kLogChannels;
  static constexpr int kLogHeld = LogHeldOf(kLogSize);
  static constexpr int kHeld = 1 << kLogHeld;
  static constexpr int kPeers = kSize >> kLogHeld;  // threads of a channel
  // A row's place in shared memory, exclusive-ored so that the 32 lanes of
  // every access of every pass meet 32 banks.
  static __host__ __device__ constexpr int Swizzle(int word) {
    const int low = kLogChannels < 4
                        ? ((word >> 5) & ((16 >> kLogChannels) - 1))
                              << kLogChannels
                        : 0;
    return word ^ low ^ (((word >> 9) & 1) << 4);
  }
};

// The stages of depths kDone .. kDone + kBits - 1: register (unit << kBits) + j
// of thread `peer` is row block << (kLogStride + kBits) | j << kLogStride | q,
// where block and q are the high and low bits of peer + unit * kPeers.
template <int kLogSize, int kDone>
struct Pass {
  using Shape = TransformShape<kLogSize>;
  static constexpr int kBits =
      kLogSize - kDone < Shape::kLogHeld ? kLogSize - kDone : Shape::kLogHeld;
  static constexpr int kNext = kDone + kBits;
  static constexpr int kLogStride = kLogSize - kNext;
  static constexpr int kUnits = Shape::kHeld >> kBits;

  static __device__ __forceinline__ int BlockOf(int peer, int unit) {
    return (peer + unit * Shape::kPeers) >> kLogStride;
  }
  // Of j = 0.
  static __device__ __forceinline__ int FirstRow(int peer, int unit) {
    const int at = peer + unit * Shape::kPeers;
    return (at >> kLogStride << (kLogStride + kBits)) |
           (at & ((1 << kLogStride) - 1));
  }
  static __device__ __forceinline__ int FirstWord(int peer, int channel,
                                                  int unit) {
    return Shape::Swizzle((FirstRow(peer, unit) << Shape::kLogChannels) |
                          channel);
  }
  // Disjoint bits, so it may be added by exclusive or.
  static __device__ constexpr int WordOf(int j) {
    return Shape::Swizzle(j << (kLogStride + Shape::kLogChannels));
  }
};

// a, b become a + w b, a - w b.
__device__ __forceinline__ void Split(Complex& a, Complex& b, Complex w) {
  const Complex sum = {fmaf(w.re, b.re, fmaf(-w.im, b.im, a.re)),
                       fmaf(w.re, b.im, fmaf(w.im, b.re, a.im))};
  b = {fmaf(2.0f, a.re, -sum.re), fmaf(2.0f, a.im, -sum.im)};
  a = sum;
}
// The same for reals.
__device__ __forceinline__ void SplitReal(Complex& a, Complex& b, Complex w) {
  const float x = a.re;
  const float y = b.re;
  a = {fmaf(w.re, y, x), w.im * y};
  b = {fmaf(-w.re, y, x), -a.im};
}
// a, b become a + b, (a - b) / w.
__device__ __forceinline__ void Join(Complex& a, Complex& b, Complex w) {
  const Complex rest = {a.re - b.re, a.im - b.im};
  a = {a.re + b.re, a.im + b.im};
  b = {fmaf(rest.re, w.re, rest.im * w.im),
       fmaf(rest.im, w.re, -(rest.re * w.im))};
}
// The imaginary parts of the same.
__device__ __forceinline__ void JoinImaginary(Complex& a, Complex& b,
                                              Complex w) {
  const Complex rest = {a.re - b.re, a.im - b.im};
  a.im = a.im + b.im;
  b.im = fmaf(rest.im, w.re, -(rest.re * w.im));
}

// A stage of a pass over one unit of 2^kBits points: its blocks' halves are
// combined by `combine` (a, b, root). Stages and parts are template arguments,
// since the compiler keeps arrays in registers only if all indices are known
// early.
template <int kBits, int kStage, typename Roots, typename Combine,
          int... kParts>
__device__ __forceinline__ void RunStage(
    Complex* y, const Roots& roots, const Combine& combine,
    std::integer_sequence<int, kParts...>) {
  constexpr int kHalf = 1 << (kBits - kStage - 1);
  const auto run = [&combine](Complex w, Complex* z) {
#pragma unroll
    for (int j = 0; j < kHalf; ++j) combine(z[j], z[kHalf + j], w);
  };
  (run(roots.template Get<kStage, kParts>(), y + 2 * kHalf * kParts), ...);
}
template <int kStage>
using PartsOfStage = std::make_integer_sequence<int, 1 << kStage>;

// kReal: the first stage of all meets reals only, and of its inverse only the
// imaginary parts are wanted.
template <bool kReal, typename Roots, int... kStages>
__device__ __forceinline__ void SplitUnit(
    Complex* y, const Roots& roots, std::integer_sequence<int, kStages...>) {
  constexpr int kBits = sizeof...(kStages);
  (RunStage<kBits, kStages>(
       y, roots,
       [](Complex& a, Complex& b, Complex w) {
         if constexpr (kReal && kStages == 0) {
           SplitReal(a, b, w);
         } else {
           Split(a, b, w);
         }
       },
       PartsOfStage<kStages>()),
   ...);
}
// From the last stage to the first.
template <bool kReal, typename Roots, int... kStages>
__device__ __forceinline__ void JoinUnit(
    Complex* y, const Roots& roots, std::integer_sequence<int, kStages...>) {
  constexpr int kBits = sizeof...(kStages);
  (RunStage<kBits, kBits - 1 - kStages>(
       y, roots,
       [](Complex& a, Complex& b, Complex w) {
         if constexpr (kReal && kStages == kBits - 1) {
           JoinImaginary(a, b, w);
         } else {
           Join(a, b, w);
         }
       },
       PartsOfStage<kBits - 1 - kStages>()),
   ...);
}

template <int kLogSize, int kDone>
__device__ __forceinline__ void SplitPass(Complex* x, int peer,
                                          const float2* roots) {
  using P = Pass<kLogSize, kDone>;
  using Stages = std::make_integer_sequence<int, P::kBits>;
#pragma unroll
  for (int unit = 0; unit < P::kUnits; ++unit) {
    Complex* const y = x + (unit << P::kBits);
    if constexpr (kDone == 0) {
      SplitUnit<true>(y, FirstRoots(), Stages());
    } else {
      SplitUnit<false>(
          y, LoadRoots<kDone, P::kBits>(roots, P::BlockOf(peer, unit)),
          Stages());
    }
  }
}

template <int kLogSize, int kDone>
__device__ __forceinline__ void JoinPass(Complex* x, int peer,
                                         const float2* roots) {
  using P = Pass<kLogSize, kDone>;
  using Stages = std::make_integer_sequence<int, P::kBits>;
#pragma unroll
  for (int unit = 0; unit < P::kUnits; ++unit) {
    Complex* const y = x + (unit << P::kBits);
    if constexpr (kDone == 0) {
      JoinUnit<true>(y, FirstRoots(), Stages());
    } else {
      JoinUnit<false>(y,
                      LoadRoots<kDone, P::kBits>(roots, P::BlockOf(peer, unit)),
                      Stages());
    }
  }
}

// `value`, and the compiler does not know it: addresses and roots that follow
// from it are computed again where they are needed. It would keep them in
// registers since their last use otherwise, at the cost of points, which would
// go to local memory. zero: shared memory that holds 0.
__device__ __forceinline__ int Anew(int value, const volatile int* zero) {
  return value + *zero;
}

// The registers of pass kDone to and from one plane of shared memory.
template <int kLogSize, int kDone, float Complex::*kPlane>
__device__ __forceinline__ void Scatter(const Complex* x, int peer, int channel,
                                        float* plane) {
  using P = Pass<kLogSize, kDone>;
#pragma unroll
  for (int unit = 0; unit < P::kUnits; ++unit) {
    const int first = P::FirstWord(peer, channel, unit);
#pragma unroll
    for (int j = 0; j < (1 << P::kBits); ++j) {
      plane[first ^ P::WordOf(j)] = x[(unit << P::kBits) + j].*kPlane;
    }
  }
}
template <int kLogSize, int kDone, float Complex::*kPlane>
__device__ __forceinline__ void Gather(const float* plane, int peer,
                                       int channel, Complex* x) {
  using P = Pass<kLogSize, kDone>;
#pragma unroll
  for (int unit = 0; unit < P::kUnits; ++unit) {
    const int first = P::FirstWord(peer, channel, unit);
#pragma unroll
    for (int j = 0; j < (1 << P::kBits); ++j) {
      x[(unit << P::kBits) + j].*kPlane = plane[first ^ P::WordOf(j)];
    }
  }
}

// Where G_k of row k stands for lane `lane` of a group: [lanes / C] parts, in
// each [kHeld] registers of the last pass by thread.
__host__ __device__ inline int SpectrumIndex(int log_size, int row, int lane) {
  const int log_channels = LogChannelsOf(log_size);
  const int log_held = LogHeldOf(log_size);
  const int bits = (log_size - 1) % log_held + 1;  // of the last pass
  const int log_peers = log_size - log_held;
  const int at = row >> bits;
  const int unit = at >> log_peers;
  const int peer = at & ((1 << log_peers) - 1);
  const int held = (unit << bits) | (row & ((1 << bits) - 1));
  const int part = lane >> log_channels;
  const int channel = lane & ((1 << log_channels) - 1);
  const int thread = (peer << log_channels) | channel;
  return (part << (log_size + log_channels)) | (held << kLogTileThreads) |
         thread;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_EXPLICIT_TRANSFORM_CUH_
