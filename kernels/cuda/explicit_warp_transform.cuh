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

using LaneRoots = BlockRoots<kStages>;
__device__ __forceinline__ LaneRoots LoadLaneRoots(const float2* roots) {
  return LoadRoots<kStages, kStages>(roots, static_cast<int>(threadIdx.x) % 32);
}

// rest / w, w on the unit circle.
__device__ __forceinline__ Complex DividedBy(Complex rest, Complex w) {
  return {fmaf(rest.re, w.re, rest.im * w.im),
          fmaf(rest.im, w.re, -(rest.re * w.im))};
}
// Joins of stages kStage + 1 and kStage at once, which saves a division: the
// blocks of the inner one have roots `inner` and i inner, that of the outer w.
template <int kStage, typename Roots, int... kParts>
__device__ __forceinline__ void JoinTwoStages(
    Complex (&x)[kHeld], const Roots& roots,
    std::integer_sequence<int, kParts...>) {
  constexpr int kQuarter = kHeld >> (kStage + 2);
  const auto join = [](Complex w, Complex inner, Complex* y) {
    const Complex both = {fmaf(w.re, inner.re, -(w.im * inner.im)),
                          fmaf(w.re, inner.im, w.im * inner.re)};
#pragma unroll
    for (int j = 0; j < kQuarter; ++j) {
      Complex& a = y[j];
      Complex& b = y[kQuarter + j];
      Complex& c = y[2 * kQuarter + j];
      Complex& d = y[3 * kQuarter + j];
      const Complex low = {a.re + b.re, a.im + b.im};
      const Complex high = {c.re + d.re, c.im + d.im};
      const Complex low_rest = {a.re - b.re, a.im - b.im};
      const Complex high_rest = {c.re - d.re, c.im - d.im};
      a = {low.re + high.re, low.im + high.im};
      b = DividedBy({low_rest.re + high_rest.im, low_rest.im - high_rest.re},
                    inner);
      c = DividedBy({low.re - high.re, low.im - high.im}, w);
      d = DividedBy({low_rest.re - high_rest.im, low_rest.im + high_rest.re},
                    both);
    }
  };
  (join(roots.template Get<kStage, kParts>(),
        roots.template Get<kStage + 1, 2 * kParts>(),
        x + 4 * kQuarter * kParts),
   ...);
}
// The stages of a pass; kReal as in JoinUnit.
template <bool kReal, typename Roots>
__device__ __forceinline__ void JoinStages(Complex (&x)[kHeld],
                                           const Roots& roots) {
  static_assert(kStages == 5);
  JoinTwoStages<3>(x, roots, std::make_integer_sequence<int, 8>());
  JoinTwoStages<1>(x, roots, std::make_integer_sequence<int, 2>());
  const Complex w = roots.template Get<0, 0>();
#pragma unroll
  for (int j = 0; j < kHeld / 2; ++j) {
    if constexpr (kReal) {
      JoinImaginary(x[j], x[kHeld / 2 + j], w);
    } else {
      Join(x[j], x[kHeld / 2 + j], w);
    }
  }
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
                                              const LaneRoots& roots) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    x[j].re = plane[33 * j + lane];
    x[j].im = 0.0f;
  }
  __syncwarp();
  SplitUnit<true>(x, FirstRoots(), AllStages());
  ExchangeRows<&Complex::re>(x, lane, plane);
  ExchangeRows<&Complex::im>(x, lane, plane);
  SplitUnit<false>(x, roots, AllStages());
}

// The imaginary parts of the inverse, times kBlock, into the plane. `between`
// is called where the points change hands.
template <typename Between>
__device__ __forceinline__ void WarpTransformBack(Complex (&x)[kHeld],
                                                  float* plane,
                                                  const LaneRoots& roots,
                                                  const Between& between) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  JoinStages<false>(x, roots);
  ReturnRows<&Complex::re>(x, lane, plane);
  ReturnRows<&Complex::im>(x, lane, plane);
  between();
  JoinStages<true>(x, FirstRoots());
#pragma unroll
  for (int j = 0; j < kHeld; ++j) plane[33 * j + lane] = x[j].im;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_EXPLICIT_WARP_TRANSFORM_CUH_
