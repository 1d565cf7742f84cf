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

// Of block kPart of the 2^kStage blocks of a stage: its number reversed, as a
// share of them. RootOf of depth d and that block is e^(i pi (1/4 / 2^d +
// share)).
template <int kStage, int kPart>
__host__ __device__ constexpr double ReversedShare() {
  double share = 0;
  for (int bit = 0; bit < kStage; ++bit) {
    if ((kPart >> bit & 1) != 0) share += 0.5 / (1 << bit);
  }
  return share;
}

// RootOf of the first pass, whose blocks are the same for all lanes.
struct FirstRoots {
  template <int kStage, int kPart>
  __device__ __forceinline__ Complex Get() const {
    constexpr Complex kRoot =
        UnitRoot(0.25 / (1 << kStage) + ReversedShare<kStage, kPart>());
    return {kRoot.re, kRoot.im};
  }
};
// And of the second one, where a lane has one block: the first of each stage,
// from which the others follow, so that few have to be kept.
struct LaneRoots {
  Complex first[kStages];
  template <int kStage, int kPart>
  __device__ __forceinline__ Complex Get() const {
    const Complex root = first[kStage];
    if constexpr (kPart == 0) return root;
    if constexpr (kPart % 2 == 1) {
      const Complex even = Get<kStage, kPart - 1>();
      return {-even.im, even.re};
    }
    constexpr Complex kBy = UnitRoot(ReversedShare<kStage, kPart>());
    return {fmaf(kBy.re, root.re, -(kBy.im * root.im)),
            fmaf(kBy.re, root.im, kBy.im * root.re)};
  }
};
__device__ __forceinline__ LaneRoots LoadLaneRoots(const float2* roots) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  LaneRoots out;
#pragma unroll
  for (int stage = 0; stage < kStages; ++stage) {
    out.first[stage] = RootOf(roots, kStages + stage, lane << stage);
  }
  return out;
}

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
// The stages of a pass. kReal: the first stage of all meets reals only, and of
// its inverse only the imaginary parts are wanted.
template <bool kReal, typename Roots, int... kStage>
__device__ __forceinline__ void SplitStages(
    Complex (&x)[kHeld], const Roots& roots,
    std::integer_sequence<int, kStage...>) {
  (SplitStage<(kReal && kStage == 0), kStage>(
       x, roots, std::make_integer_sequence<int, 1 << kStage>()),
   ...);
}
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
  SplitStages<true>(x, FirstRoots(), AllStages());
  ExchangeRows<&Complex::re>(x, lane, plane);
  ExchangeRows<&Complex::im>(x, lane, plane);
  SplitStages<false>(x, roots, AllStages());
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
