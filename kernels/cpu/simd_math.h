// Elementwise functions on the vectors of one kernel set, and the loops over
// rows. Included after a simd_*.h.
#ifndef CHELA_KERNELS_CPU_SIMD_MATH_H_
#define CHELA_KERNELS_CPU_SIMD_MATH_H_

#include <cstdint>

namespace chela::CHELA_KERNEL_SET {
namespace {

// The vector at p of a row with `left` more elements; lanes beyond are 0.
// A tail goes through the same arithmetic as full vectors, so that a value's
// bits do not depend on where it stands.
inline F LoadAt(const float* p, int64_t left) {
  return left >= kLanes ? Load(p) : LoadPart(p, left);
}
inline void StoreAt(float* p, F x, int64_t left) {
  if (left >= kLanes) {
    Store(p, x);
  } else {
    StorePart(p, x, left);
  }
}

// e^x within 2 units in the last place for x in [-87.3, 88.3]; below, e^-87.3;
// above, infinity. NaN stays NaN.
//
// x = n ln 2 + r, |r| <= ln(2) / 2; ln 2 is split so that n times its high
// part is exact. The polynomial is Cephes' expf.
inline F Exp(F x) {
  const F shift = Set(0x1.8p23f);
  x = Min(Set(89.0f), Max(Set(-87.3f), x));
  const F shifted = Add(Mul(x, Set(1.44269504088896341f)), shift);
  const F n = Sub(shifted, shift);
  F r = Fma(n, Set(-0.693359375f), x);
  r = Fma(n, Set(2.12194440e-4f), r);
  F p = Set(1.9875691500e-4f);
  p = Fma(p, r, Set(1.3981999507e-3f));
  p = Fma(p, r, Set(8.3334519073e-3f));
  p = Fma(p, r, Set(4.1665795894e-2f));
  p = Fma(p, r, Set(1.6666665459e-1f));
  p = Fma(p, r, Set(5.0000001201e-1f));
  p = Fma(p, Mul(r, r), r);
  return Mul(Add(p, Set(1.0f)), Pow2FromShifted(shifted));
}

// Where e^-x counts as infinity both functions are 0, which is their value to
// within 1e-36.
inline F Sigmoid(F x) {
  return Div(Set(1.0f), Add(Set(1.0f), Exp(Sub(Set(0.0f), x))));
}
inline F Silu(F x) { return Div(x, Add(Set(1.0f), Exp(Sub(Set(0.0f), x)))); }

// elu(x) + 1: x + 1 above 0, e^x below, without a branch.
inline F Elu1(F x) { return Add(Max(Set(0.0f), x), Exp(Min(Set(0.0f), x))); }

}  // namespace
}  // namespace chela::CHELA_KERNEL_SET

#endif  // CHELA_KERNELS_CPU_SIMD_MATH_H_
