// The transform of explicit_transform.cuh for kBlock points of one channel by
// one warp. A lane holds 32 of them: in the first five stages rows lane,
// 32 + lane .., in the last five rows 32 lane, 32 lane + 1 .., so that points
// change hands once, and only within the warp.
//
// Row p of the transform is the value at e^(i (pi / 2 + 2 pi k) / kBlock),
// where k has the bits of p reversed. So the way back is
//   y_n = e^(-i pi n / (2 kBlock)) sum over k of Y_k e^(-2 pi i k n / kBlock)
// up to the factor kBlock: the radix-2 transform by decimation in time (Cooley
// and Tukey 1965), whose order is the one at hand and whose products come
// before the sums, so that each goes into one fused multiply-add.
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
using AllStages = std::make_integer_sequence<int, kStages>;

__device__ __forceinline__ Complex Times(Complex a, Complex b) {
  return {fmaf(a.re, b.re, -(a.im * b.im)), fmaf(a.re, b.im, a.im * b.re)};
}
// e^(-i pi lane / 2^(kStages + stage)), and e^(-i pi lane / (2 kBlock)).
struct BackRoots {
  Complex stages[kStages];
  Complex twist;
};
// Kept in shared memory, since registers are scarce.
inline constexpr int kBackRoots = kStages + 1;
__device__ __forceinline__ void MakeBackRoots(float2 (&roots)[kBackRoots][32]) {
  const int i = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (i >= kBackRoots) return;
  const int log_share = i < kStages ? kStages + i : kLogBlock + 1;
  float2 root;
  sincospif(-scalbnf(static_cast<float>(lane), -log_share), &root.y, &root.x);
  roots[i][lane] = root;
}
__device__ __forceinline__ BackRoots
LoadBackRoots(const float2 (&roots)[kBackRoots][32]) {
  const auto load = [&roots](int i) {
    const float2 root = roots[i][threadIdx.x % 32];
    return Complex{root.x, root.y};
  };
  BackRoots out;
#pragma unroll
  for (int stage = 0; stage < kStages; ++stage) out.stages[stage] = load(stage);
  out.twist = load(kStages);
  return out;
}
// by e^(-i pi kPart / 2^kStage)
template <int kStage, int kPart>
__device__ __forceinline__ Complex TimesUnit(Complex by) {
  if constexpr (kPart == 0) {
    return by;
  } else if constexpr (2 * kPart >= 1 << kStage) {
    const Complex other = TimesUnit<kStage, kPart - (1 << kStage) / 2>(by);
    return {other.im, -other.re};
  } else {
    constexpr Complex kRoot = UnitRoot(double{kPart} / (1 << kStage));
    return Times(by, {kRoot.re, -kRoot.im});
  }
}
// A pair of a stage of the way back: a, b become a + w b, a - w b, w =
// by e^(-i pi kPart / 2^kStage); kPlain: by is 1.
template <bool kPlain, int kStage, int kPart>
__device__ __forceinline__ void JoinPair(Complex by, Complex& a, Complex& b) {
  if constexpr (kPlain && (kPart == 0 || 2 * kPart == 1 << kStage)) {
    const Complex x = kPart == 0 ? b : Complex{b.im, -b.re};
    b = {a.re - x.re, a.im - x.im};
    a = {a.re + x.re, a.im + x.im};
  } else {
    Split(a, b, TimesUnit<kStage, kPart>(by));
  }
}
template <bool kPlain, int kStage, int... kPairs>
__device__ __forceinline__ void JoinStage(
    Complex (&x)[kHeld], Complex by, std::integer_sequence<int, kPairs...>) {
  constexpr int kStep = 1 << kStage;
  (JoinPair<kPlain, kStage, kPairs % kStep>(
       by, x[kPairs / kStep * 2 * kStep + kPairs % kStep],
       x[kPairs / kStep * 2 * kStep + kPairs % kStep + kStep]),
   ...);
}
using AllPairs = std::make_integer_sequence<int, kHeld / 2>;
// The stages of a pass, of the second one those after the first.
template <int... kStage>
__device__ __forceinline__ void JoinStages(
    Complex (&x)[kHeld], std::integer_sequence<int, kStage...>) {
  (JoinStage<true, kStage>(x, Complex{1, 0}, AllPairs()), ...);
}
template <int... kStage>
__device__ __forceinline__ void JoinLaterStages(
    Complex (&x)[kHeld], const BackRoots& roots,
    std::integer_sequence<int, kStage...>) {
  (JoinStage<false, kStage + 1>(x, roots.stages[kStage + 1], AllPairs()), ...);
}
// The imaginary parts of x_j e^(-i pi j / (2 kHeld)), into the plane.
template <int... kRows>
__device__ __forceinline__ void StoreImaginary(
    const Complex (&x)[kHeld], float* to,
    std::integer_sequence<int, kRows...>) {
  const auto store = [&x, to]<int j>(std::integral_constant<int, j>) {
    constexpr Complex kRoot = UnitRoot(double{j} / (2 * kHeld));
    to[33 * j] = fmaf(x[j].im, kRoot.re, -(x[j].re * kRoot.im));
  };
  (store(std::integral_constant<int, kRows>()), ...);
}

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
                                                  const BackRoots& roots,
                                                  const Between& between) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  JoinStages(x, AllStages());
  ReturnRows<&Complex::re>(x, lane, plane);
  ReturnRows<&Complex::im>(x, lane, plane);
  between();
  // The lane's share of the twist goes into all points, before their sums.
#pragma unroll
  for (int j = 0; j < kHeld; j += 2) x[j] = Times(x[j], roots.twist);
  JoinStage<false, 0>(x, Times(roots.stages[0], roots.twist), AllPairs());
  JoinLaterStages(x, roots, std::make_integer_sequence<int, kStages - 1>());
  StoreImaginary(x, plane + lane, std::make_integer_sequence<int, kHeld>());
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_EXPLICIT_WARP_TRANSFORM_CUH_
