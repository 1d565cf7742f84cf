// Vectors of one float, in portable C++. Included by kernels_generic.cc only.
//
// The simd_*.h headers offer the same names in the namespace of their set, so
// that the *_kernels.h files are written once. Everything has internal
// linkage. A product and a sum are one rounding (Fma) where the set has the
// instruction, and two here.
#ifndef CHELA_KERNELS_CPU_SIMD_GENERIC_H_
#define CHELA_KERNELS_CPU_SIMD_GENERIC_H_

#include <cstdint>

namespace chela::CHELA_KERNEL_SET {
namespace {

using F = float;
constexpr int64_t kLanes = 1;

// Rows and vectors of columns that a product's accumulators take at most.
constexpr int kProductRows = 4;
constexpr int kNarrowRows = 4;  // up to here a tile spans the whole panel

inline F Set(float x) { return x; }
inline F Load(const float* p) { return *p; }
inline F LoadPart(const float* p, int64_t) { return *p; }  // the rest is 0
inline F KeepPart(F x, int64_t) { return x; }              // likewise
inline void Store(float* p, F x) { *p = x; }
inline void StorePart(float* p, F x, int64_t) { *p = x; }
inline F Add(F a, F b) { return a + b; }
inline F Sub(F a, F b) { return a - b; }
inline F Mul(F a, F b) { return a * b; }
inline F Div(F a, F b) { return a / b; }
inline F Fma(F a, F b, F c) { return a * b + c; }
// Max and Min return b if either is NaN.
inline F Max(F a, F b) { return a > b ? a : b; }
inline F Min(F a, F b) { return a < b ? a : b; }
inline float SumLanes(F x) { return x; }

// 2^n for x = 1.5 * 2^23 + n, n in [-127, 128]; 2^128 is infinity, 2^-127 is
// 0.
inline F Pow2FromShifted(F x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  return __builtin_bit_cast(float, (bits << 23) + 0x3f800000u);
}

// Round to nearest even; NaN stays NaN.
inline uint32_t RoundBf16(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  if (x != x) return (bits >> 16) | 0x40u;
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}
inline float FromBf16(uint32_t half) {
  return __builtin_bit_cast(float, half << 16);
}

inline float FromF16(uint32_t half) {
  // 2^112 moves the exponent's bias from 15 to 127, exactly, subnormals
  // included; infinity and NaN need their exponent completed.
  const uint32_t bits = (half & 0x7fffu) << 13;
  float x = __builtin_bit_cast(float, bits) * 0x1p112f;
  if ((half & 0x7c00u) == 0x7c00u) {
    x = __builtin_bit_cast(float, bits | 0x7f800000u);
  }
  return (half & 0x8000u) != 0 ? -x : x;
}

// x rounded to float16, nearest even, as a float.
inline float RoundF16(float x) {
  const float size = x < 0 ? -x : x;
  if (!(size < 65520.0f)) return x != x ? x : x * __builtin_inff();
  // Adding a power of two 2^13 times the last place of x drops what float16
  // does not hold; below 2^-14 the last place is that of the subnormals.
  const uint32_t exponent = __builtin_bit_cast(uint32_t, size) & 0x7f800000u;
  float shift = __builtin_bit_cast(float, exponent) * 0x1p13f;
  if (size < 0x1p-14f) shift = 0x1p-1f;
  return x < 0 ? -((size + shift) - shift) : (size + shift) - shift;
}

// Each takes kLanes floats, the first n of them from x and the rest 0, and
// writes them rounded as floats.
inline F RoundedBf16(F x) { return FromBf16(RoundBf16(x)); }
inline F RoundedF16(F x) { return RoundF16(x); }

// kLanes pairs (even, odd k) of a bf16 panel.
struct Pairs {
  F even;
  F odd;
};
inline Pairs LoadPairs(const uint16_t* p) {
  return {FromBf16(p[0]), FromBf16(p[1])};
}
// Elements 2i of signed bytes in `even`, 2i + 1 in `odd`.
inline Pairs LoadI8Pairs(const signed char* p) {
  return {static_cast<float>(p[0]), static_cast<float>(p[1])};
}
inline F LoadF16(const uint16_t* p) { return FromF16(*p); }
inline void Prefetch(const void* p) { __builtin_prefetch(p); }

}  // namespace
}  // namespace chela::CHELA_KERNEL_SET

#endif  // CHELA_KERNELS_CPU_SIMD_GENERIC_H_
