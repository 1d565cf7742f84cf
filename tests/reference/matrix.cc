#include "tests/reference/matrix.h"

namespace chela::reference {

std::vector<Real> Multiply(const std::vector<Real>& x, const Matrix& weight) {
  const DType left = weight.dtype == DType::kI8 ? DType::kBF16 : weight.dtype;
  std::vector<Real> rounded;
  for (const Real& value : x) rounded.push_back(Round(value, left));
  std::vector<Real> sums;
  for (int64_t n = 0; n < weight.rows; ++n) {
    Sum sum;
    for (int64_t k = 0; k < weight.cols; ++k) {
      sum.Add(rounded[static_cast<size_t>(k)] * Real(weight.at(n, k)));
    }
    sums.push_back(sum.Total());
  }
  return sums;
}

}  // namespace chela::reference
