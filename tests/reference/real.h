#ifndef CHELA_TESTS_REFERENCE_REAL_H_
#define CHELA_TESTS_REFERENCE_REAL_H_

#include <cstdint>

#include "kernels/dtype.h"

namespace chela::reference {

// A number in float64 beside a bound on how far the same computation in
// float32 may be from it. The operations below carry the bound along: each
// adds the rounding of its own result (2^-24 of it) to what its operands may
// be off. So a twin written in Reals states its own tolerance, and a value
// that no operation touched must come out with the same bits.
struct Real {
  double value = 0;
  double error = 0;

  Real() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): float inputs are exact.
  Real(double exact) : value(exact) {}
  Real(double v, double e) : value(v), error(e) {}
};

Real operator+(const Real& a, const Real& b);
Real operator-(const Real& a, const Real& b);
Real operator*(const Real& a, const Real& b);
Real operator/(const Real& a, const Real& b);
Real Sqrt(const Real& x);

// e^x where the float32 function may be off by 2 units in the last place
// (4 * 2^-24) and flush results below 1e-36.
Real Exp(const Real& x);
Real Sigmoid(const Real& x);
Real Silu(const Real& x);
Real Elu1(const Real& x);  // elu(x) + 1

// A sum of any number of terms, added in any order.
class Sum {
 public:
  void Add(const Real& term);
  Real Total() const;

 private:
  int64_t terms_ = 0;
  double value_ = 0;
  double magnitude_ = 0;
  double error_ = 0;
};

// x rounded to a stored type. Where the bound of x reaches over a midpoint, the
// float32 computation may have rounded to the other side, and the bound says
// so.
Real Round(const Real& x, DType dtype);

}  // namespace chela::reference

#endif  // CHELA_TESTS_REFERENCE_REAL_H_
