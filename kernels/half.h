#ifndef CHELA_KERNELS_HALF_H_
#define CHELA_KERNELS_HALF_H_

#include <cstdint>

namespace chela {

// The 16-bit floating-point formats as bits. Conversions to them round to
// nearest even; too large values become infinity and NaN stays NaN.
float FromBf16(uint16_t bits);
float FromF16(uint16_t bits);
uint16_t ToBf16(float x);
uint16_t ToF16(float x);

}  // namespace chela

#endif  // CHELA_KERNELS_HALF_H_
