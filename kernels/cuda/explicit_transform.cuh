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

#include <cuda_runtime.h>

namespace chela::cuda {

inline constexpr int kTileThreads = 512;
inline constexpr int kLogTileThreads = 9;
inline constexpr int kMinLogTransform = 7;
inline constexpr int kMaxLogTransform = 14;

struct Complex {
  float re = 0;
  float im = 0;
};

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

// e^(i theta/2) of block `node` of depth `depth` (fft.h). An odd node's is i
// times that of the even one before it, so that only even ones are stored.
__host__ __device__ constexpr int RootIndex(int depth, int node) {
  return depth == 0 ? 0 : (1 << (depth - 1)) + (node >> 1);
}
__device__ __forceinline__ Complex RootOf(const float2* roots, int depth,
                                          int node) {
  const float2 root = __ldg(roots + RootIndex(depth, node));
  return (node & 1) != 0 ? Complex{-root.y, root.x} : Complex{root.x, root.y};
}

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

template <int kLogSize, int kDone>
__device__ __forceinline__ void SplitPass(Complex* x, int peer,
                                          const float2* roots) {
  using P = Pass<kLogSize, kDone>;
#pragma unroll
  for (int unit = 0; unit < P::kUnits; ++unit) {
    const int block = P::BlockOf(peer, unit);
    Complex* const y = x + (unit << P::kBits);
#pragma unroll
    for (int stage = 0; stage < P::kBits; ++stage) {
      const int half = 1 << (P::kBits - stage - 1);
#pragma unroll
      for (int part = 0; part < (1 << stage); ++part) {
        const Complex w = RootOf(roots, kDone + stage, (block << stage) + part);
#pragma unroll
        for (int j = 0; j < half; ++j) {
          Complex& a = y[2 * half * part + j];
          Complex& b = y[2 * half * part + half + j];
          if (kDone == 0 && stage == 0) {
            SplitReal(a, b, w);
          } else {
            Split(a, b, w);
          }
        }
      }
    }
  }
}

template <int kLogSize, int kDone>
__device__ __forceinline__ void JoinPass(Complex* x, int peer,
                                         const float2* roots) {
  using P = Pass<kLogSize, kDone>;
#pragma unroll
  for (int unit = 0; unit < P::kUnits; ++unit) {
    const int block = P::BlockOf(peer, unit);
    Complex* const y = x + (unit << P::kBits);
#pragma unroll
    for (int stage = P::kBits - 1; stage >= 0; --stage) {
      const int half = 1 << (P::kBits - stage - 1);
#pragma unroll
      for (int part = 0; part < (1 << stage); ++part) {
        const Complex w = RootOf(roots, kDone + stage, (block << stage) + part);
#pragma unroll
        for (int j = 0; j < half; ++j) {
          Complex& a = y[2 * half * part + j];
          Complex& b = y[2 * half * part + half + j];
          if (kDone == 0 && stage == 0) {
            JoinImaginary(a, b, w);
          } else {
            Join(a, b, w);
          }
        }
      }
    }
  }
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
