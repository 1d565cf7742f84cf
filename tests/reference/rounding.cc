#include "tests/reference/rounding.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace chela::reference {
namespace {

struct Format {
  int fraction_bits;
  int min_exponent;  // of a normal number
  int max_exponent;
};

Format FormatOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return {23, -126, 127};
    case DType::kBF16:
      return {7, -126, 127};
    case DType::kF16:
      return {10, -14, 15};
    case DType::kI8:
      break;  // no format of its own
  }
  return {};
}

}  // namespace

double RoundTo(DType dtype, double value) {
  if (value == 0 || !std::isfinite(value)) return value;
  const Format format = FormatOf(dtype);
  const int exponent = std::max(std::ilogb(value), format.min_exponent);
  const double quantum = std::ldexp(1.0, exponent - format.fraction_bits);
  const double rounded = std::nearbyint(value / quantum) * quantum;
  if (std::fabs(rounded) < std::ldexp(1.0, format.max_exponent + 1)) {
    return rounded;
  }
  return std::copysign(std::numeric_limits<double>::infinity(), value);
}

uint16_t Encode16(DType dtype, double value) {
  const Format format = FormatOf(dtype);
  const int bias = 1 - format.min_exponent;
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(value);
  if (std::isinf(value) || std::isnan(value)) {
    const int all_ones = (2 * bias + 1) << format.fraction_bits;
    return static_cast<uint16_t>(sign | all_ones | (std::isnan(value) ? 1 : 0));
  }
  if (magnitude == 0) return sign;
  const int exponent = std::max(std::ilogb(magnitude), format.min_exponent);
  const int fraction =
      static_cast<int>(std::ldexp(magnitude, format.fraction_bits - exponent));
  // A normal number's leading 1 carries into the exponent field.
  const int field = exponent + bias - 1;
  return static_cast<uint16_t>(sign |
                               ((field << format.fraction_bits) + fraction));
}

double Decode16(DType dtype, uint16_t bits) {
  const Format format = FormatOf(dtype);
  const int bias = 1 - format.min_exponent;
  const int magnitude = bits & 0x7fff;
  const int field = magnitude >> format.fraction_bits;
  const int fraction = magnitude & ((1 << format.fraction_bits) - 1);
  double value = 0;
  if (field == 2 * bias + 1) {
    value = fraction == 0 ? std::numeric_limits<double>::infinity()
                          : std::numeric_limits<double>::quiet_NaN();
  } else if (field == 0) {
    value = std::ldexp(fraction, format.min_exponent - format.fraction_bits);
  } else {
    value = std::ldexp(fraction + (1 << format.fraction_bits),
                       field - bias - format.fraction_bits);
  }
  return (bits & 0x8000) != 0 ? -value : value;
}

}  // namespace chela::reference
