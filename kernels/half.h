#ifndef CHELA_KERNELS_HALF_H_
#define CHELA_KERNELS_HALF_H_

#include <bit>
#include <cmath>
#include <cstdint>

namespace chela {

// The 16-bit floating-point formats as bits. Conversions to them round to
// nearest even; too large values become infinity and NaN stays NaN. Inline,
// since whole checkpoints go through them.

inline float FromBf16(uint16_t bits) {
  return std::bit_cast<float>(uint32_t{bits} << 16);
}

inline float FromF16(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t size = bits & 0x7fffu;
  if (size >= 0x7c00u) {
    return std::bit_cast<float>(sign | 0x7f800000u | (size << 13));
  }
  // 2^112 is the difference of the two exponents' biases; the product is exact
  // for subnormals too.
  const float x = std::bit_cast<float>(size << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(x));
}

inline uint16_t ToBf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline uint16_t ToF16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (size >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (size < 0x38800000u) {
    // Below 2^-14 the result counts units of 2^-24: the sum with 1/2 leaves
    // that count, rounded, in the last bits.
    const float sum = std::bit_cast<float>(size) + 0.5f;
    return static_cast<uint16_t>(sign |
                                 (std::bit_cast<uint32_t>(sum) - 0x3f000000u));
  }
  const uint32_t rounded = size + 0xfffu + ((size >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}

}  // namespace chela

#endif  // CHELA_KERNELS_HALF_H_
