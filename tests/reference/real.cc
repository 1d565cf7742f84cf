#include "tests/reference/real.h"

#include <algorithm>
#include <cmath>

#include "tests/reference/rounding.h"

namespace chela::reference {
namespace {

// Half a unit in the last place of a float32 in [1, 2), and the largest error
// of a result that is subnormal or flushed.
constexpr double kHalfUnit = 0x1p-24;
constexpr double kSmallest = 0x1p-126;
constexpr double kExpSmallest = 1e-36;

Real Rounded(double value, double error) {
  return {value, error + kHalfUnit * (std::abs(value) + error) + kSmallest};
}

}  // namespace

Real operator+(const Real& a, const Real& b) {
  return Rounded(a.value + b.value, a.error + b.error);
}

Real operator-(const Real& a, const Real& b) {
  return Rounded(a.value - b.value, a.error + b.error);
}

Real operator*(const Real& a, const Real& b) {
  return Rounded(a.value * b.value, std::abs(a.value) * b.error +
                                        std::abs(b.value) * a.error +
                                        a.error * b.error);
}

Real operator/(const Real& a, const Real& b) {
  const double quotient = a.value / b.value;
  const double least = std::abs(b.value) - b.error;
  return Rounded(quotient, (a.error + std::abs(quotient) * b.error) / least);
}

Real Sqrt(const Real& x) {
  const double root = std::sqrt(x.value);
  // |sqrt(y) - sqrt(x)| = |y - x| / (sqrt(y) + sqrt(x)).
  return Rounded(root, root > 0 ? x.error / root : std::sqrt(x.error));
}

Real Exp(const Real& x) {
  const double value = std::exp(x.value);
  const double carried = value * std::expm1(x.error);
  return {value, carried + 4 * kHalfUnit * (value + carried) + kExpSmallest};
}

Real Sigmoid(const Real& x) {
  // e^-x beyond float32 counts as infinity, and the quotient as 0.
  if (x.value < -88) return {1 / (1 + std::exp(-x.value)), kExpSmallest};
  return Real(1) / (Real(1) + Exp(Real(-x.value, x.error)));
}

Real Silu(const Real& x) {
  if (x.value < -88) {
    return {x.value / (1 + std::exp(-x.value)), 100 * kExpSmallest};
  }
  return x / (Real(1) + Exp(Real(-x.value, x.error)));
}

Real Elu1(const Real& x) {
  const Real above(std::max(x.value, 0.0), x.error);
  const Real below(std::min(x.value, 0.0), x.error);
  return above + Exp(below);
}

void Sum::Add(const Real& term) {
  ++terms_;
  value_ += term.value;
  magnitude_ += std::abs(term.value) + term.error;
  error_ += term.error;
}

Real Sum::Total() const {
  // Each term goes through at most terms_ additions, zeros at the start and
  // between lanes among them; 1.01 covers the powers of 1 + 2^-24.
  const double roundings = 1.01 * static_cast<double>(terms_ + 4);
  return {value_, error_ + roundings * kHalfUnit * magnitude_ + kSmallest};
}

Real Round(const Real& x, DType dtype) {
  // In float32 nothing is rounded again; the value is what it was.
  if (dtype == DType::kF32) return x;
  const double value = RoundTo(dtype, x.value);
  const double low = RoundTo(dtype, x.value - x.error);
  const double high = RoundTo(dtype, x.value + x.error);
  return {value, std::max(high - value, value - low)};
}

}  // namespace chela::reference
