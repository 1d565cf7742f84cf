#ifndef CHELA_KERNELS_MATRIX_H_
#define CHELA_KERNELS_MATRIX_H_

#include <cstddef>
#include <cstdint>

#include "kernels/dtype.h"

namespace chela {

// Host rows of a weight matrix [rows, cols], dense, row-major, as a checkpoint
// stores them ([out, in], PyTorch's Linear). Only read while packing.
struct MatrixPart {
  const void* data = nullptr;  // unaligned is fine
  DType dtype = DType::kF32;
  int64_t rows = 0;
};

// A weight matrix [rows, cols] in one backend's memory and layout, immutable.
// Products round their left operand to `dtype` (to BF16 for an I8 matrix) and
// accumulate in float32.
// Frees itself; must not outlive its Backend.
class Matrix {
 public:
  virtual ~Matrix() = default;
  virtual DType dtype() const = 0;
  virtual int64_t rows() const = 0;  // outputs
  virtual int64_t cols() const = 0;  // inputs
  virtual size_t size_bytes() const = 0;
};

}  // namespace chela

#endif  // CHELA_KERNELS_MATRIX_H_
