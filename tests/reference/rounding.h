#ifndef CHELA_TESTS_REFERENCE_ROUNDING_H_
#define CHELA_TESTS_REFERENCE_ROUNDING_H_

#include <cstdint>

#include "kernels/dtype.h"

namespace chela::reference {

// `value` rounded to the nearest number of `dtype`, ties to even; beyond its
// largest number infinite. By arithmetic, not by bits.
double RoundTo(DType dtype, double value);

// The two bytes of a number that BF16 or F16 holds exactly, and back.
uint16_t Encode16(DType dtype, double value);
double Decode16(DType dtype, uint16_t bits);

}  // namespace chela::reference

#endif  // CHELA_TESTS_REFERENCE_ROUNDING_H_
