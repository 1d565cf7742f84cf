// The transform of explicit_transform.cuh for kBlock points of one channel by
// one warp. A lane holds 32 of them: in the first five stages rows lane,
// 32 + lane .., in the last five rows 32 lane, 32 lane + 1 .., so that points
// change hands once, and only within the warp.
#ifndef CHELA_KERNELS_CUDA_EXPLICIT_WARP_TRANSFORM_CUH_
#define CHELA_KERNELS_CUDA_EXPLICIT_WARP_TRANSFORM_CUH_

#include <utility>

#include "kernels/cuda/explicit_convolution.h"
#include "kernels/cuda/explicit_transform.cuh"

namespace chela::cuda {

inline constexpr int kStages = kLogBlock / 2;  // of a pass
inline constexpr int kHeld = 1 << kStages;
static_assert(kHeld == 32);
// A plane of shared memory has one part of a channel's rows, 32 in 33 words:
// lanes that read rows 32 apart meet different banks.
inline constexpr int kPlane = 32 * 33;
__device__ __forceinline__ int PlaceOf(int row) {
  return (row >> 5) * 33 + (row & 31);
}

// e^(i pi turns) for turns in [0, 1), by the compiler: the series.
__host__ __device__ constexpr Complex UnitRoot(double turns) {
  const double x = turns * 3.14159265358979323846;
  double term = 1;
  double sums[2] = {};
  for (int n = 0; n < 40; ++n) {
    sums[n % 2] += n / 2 % 2 == 0 ? term : -term;
    term *= x / (n + 1);
  }
  return {static_cast<float>(sums[0]), static_cast<float>(sums[1])};
}

// RootOf of the first pass, whose blocks are the same for all lanes.
struct FirstRoots {
  template <int kStage, int kPart>
  __device__ __forceinline__ Complex Get() const {
    constexpr int kReversed = [] {
      int reversed = 0;
      for (int bit = 0; bit < kStage; ++bit) {
        reversed |= (kPart >> bit & 1) << (kStage - 1 - bit);
      }
      return reversed;
    }();
    constexpr Complex kRoot = UnitRoot((0.25 + kReversed) / (1 << kStage));
    return {kRoot.re, kRoot.im};
  }
};
// And of the second one, where a lane has one block.
struct LaneRoots {
  const float2* roots = nullptr;
  int lane = 0;
  template <int kStage, int kPart>
  __device__ __forceinline__ Complex Get() const {
    return RootOf(roots, kStages + kStage, (lane << kStage) + kPart);
  }
};

// One stage of a pass. Stages and parts are template arguments, since the
// compiler keeps arrays in registers only if all indices are known early.
template <bool kReal, int kStage, typename Roots, int... kParts>
__device__ __forceinline__ void SplitStage(
    Complex (&x)[kHeld], const Roots& roots,
    std::integer_sequence<int, kParts...>) {
  constexpr int kHalf = kHeld >> (kStage + 1);
  const auto split = [&x](Complex w, Complex* y) {
#pragma unroll
    for (int j = 0; j < kHalf; ++j) {
      if constexpr (kReal) {
        SplitReal(y[j], y[kHalf + j], w);
      } else {
        Split(y[j], y[kHalf + j], w);
      }
    }
  };
  (split(roots.template Get<kStage, kParts>(), x + 2 * kHalf * kParts), ...);
}
template <bool kReal, int kStage, typename Roots, int... kParts>
__device__ __forceinline__ void JoinStage(
    Complex (&x)[kHeld], const Roots& roots,
    std::integer_sequence<int, kParts...>) {
  constexpr int kHalf = kHeld >> (kStage + 1);
  const auto join = [&x](Complex w, Complex* y) {
#pragma unroll
    for (int j = 0; j < kHalf; ++j) {
      if constexpr (kReal) {
        JoinImaginary(y[j], y[kHalf + j], w);
      } else {
        Join(y[j], y[kHalf + j], w);
      }
    }
  };
  (join(roots.template Get<kStage, kParts>(), x + 2 * kHalf * kParts), ...);
}
// The stages of a pass; kReal: its first one meets reals only.
template <bool kReal, typename Roots, int... kStage>
__device__ __forceinline__ void SplitStages(
    Complex (&x)[kHeld], const Roots& roots,
    std::integer_sequence<int, kStage...>) {
  (SplitStage < kReal && kStage == 0,
   kStage > (x, roots, std::make_integer_sequence<int, 1 << kStage>()), ...);
}
template <bool kReal, typename Roots, int... kStage>
__device__ __forceinline__ void JoinStages(
    Complex (&x)[kHeld], const Roots& roots,
    std::integer_sequence<int, kStage...>) {
  (JoinStage < kReal && kStage == kStages - 1,
   kStages - 1 - kStage >
       (x, roots,
        std::make_integer_sequence<int, 1 << (kStages - 1 - kStage)>()),
   ...);
}
using AllStages = std::make_integer_sequence<int, kStages>;

// Between the rows of the two passes, and back.
template <float Complex::*kPart>
__device__ __forceinline__ void ExchangeRows(Complex (&x)[kHeld], int lane,
                                             float* plane) {
#pragma unroll
  for (int j = 0; j < kHeld; ++j) plane[33 * j + lane] = x[j].*kPart;
  __syncwarp();
#pragma unroll
  for (int j = 0; j < kHeld; ++j) x[j].*kPart = plane[33 * lane + j];
  __syncwarp();
}
template <float Complex::*kPart>
__device__ __forceinline__ void ReturnRows(Complex (&x)[kHeld], int lane,
                                           float* plane) {
#pragma unroll
  for (int j = 0; j < kHeld; ++j) plane[33 * lane + j] = x[j].*kPart;
  __syncwarp();
#pragma unroll
  for (int j = 0; j < kHeld; ++j) x[j].*kPart = plane[33 * j + lane];
  __syncwarp();
}

// The transform of the reals in the plane.
__device__ __forceinline__ void WarpTransform(Complex (&x)[kHeld], float* plane,
                                              const float2* roots) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    x[j].re = plane[33 * j + lane];
    x[j].im = 0.0f;
  }
  __syncwarp();
  SplitStages<true>(x, FirstRoots(), AllStages());
  ExchangeRows<&Complex::re>(x, lane, plane);
  ExchangeRows<&Complex::im>(x, lane, plane);
  SplitStages<false>(x, LaneRoots{roots, lane}, AllStages());
}

// The imaginary parts of the inverse, times kBlock, into the plane.
__device__ __forceinline__ void WarpTransformBack(Complex (&x)[kHeld],
                                                  float* plane,
                                                  const float2* roots) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  JoinStages<false>(x, LaneRoots{roots, lane}, AllStages());
  ReturnRows<&Complex::re>(x, lane, plane);
  ReturnRows<&Complex::im>(x, lane, plane);
  JoinStages<true>(x, FirstRoots(), AllStages());
#pragma unroll
  for (int j = 0; j < kHeld; ++j) plane[33 * j + lane] = x[j].im;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_EXPLICIT_WARP_TRANSFORM_CUH_
