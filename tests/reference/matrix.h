#ifndef CHELA_TESTS_REFERENCE_MATRIX_H_
#define CHELA_TESTS_REFERENCE_MATRIX_H_

#include <cstdint>
#include <vector>

#include "kernels/dtype.h"
#include "tests/reference/real.h"

namespace chela::reference {

// A weight matrix [rows, cols], row-major, of values that `dtype` holds.
struct Matrix {
  int64_t rows = 0;
  int64_t cols = 0;
  DType dtype = DType::kF32;
  std::vector<float> values;

  double at(int64_t row, int64_t col) const {
    return values[static_cast<size_t>(row * cols + col)];
  }
};

// The sums x weight^T of one row, x rounded to the matrix's type first.
std::vector<Real> Multiply(const std::vector<Real>& x, const Matrix& weight);

}  // namespace chela::reference

#endif  // CHELA_TESTS_REFERENCE_MATRIX_H_
