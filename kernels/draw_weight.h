#ifndef CHELA_KERNELS_DRAW_WEIGHT_H_
#define CHELA_KERNELS_DRAW_WEIGHT_H_

#include <cstdint>

// Inlined into functions for one instruction set each, whose width the loops
// around it take; or compiled for a device.
#if defined(__CUDACC__)
#define CHELA_DRAW_INLINE __host__ __device__ __forceinline__
#else
#define CHELA_DRAW_INLINE [[gnu::always_inline]] inline
#endif

namespace chela {

// Below, e^x is less than the smallest normal float.
inline constexpr float kLowestDrawExponent = -87.0f;

// e^x for x in [-87, 0], within 2 units in the last place; 0 below and for NaN.
// As Cephes' expf: x = n ln 2 + r with |r| <= ln(2) / 2, ln 2 split so that n
// times its high part is exact. The same bits everywhere, as no product and sum
// may be fused: hosts and devices weigh tokens alike.
CHELA_DRAW_INLINE float DrawWeight(float x) {
  constexpr float kShift = 0x1.8p23f;
  const float clamped = x > kLowestDrawExponent ? x : kLowestDrawExponent;
  const float shifted = clamped * 1.44269504088896341f + kShift;
  const float n = shifted - kShift;
  float r = clamped - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r;
  // The low bits of `shifted` are n; those of kShift leave at the top.
  const uint32_t power =
      (__builtin_bit_cast(uint32_t, shifted) << 23) + 0x3F800000u;
  const float e = (p + 1.0f) * __builtin_bit_cast(float, power);
  return x > kLowestDrawExponent ? e : 0.0f;
}

}  // namespace chela

#endif  // CHELA_KERNELS_DRAW_WEIGHT_H_
