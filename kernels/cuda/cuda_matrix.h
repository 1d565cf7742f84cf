#ifndef CHELA_KERNELS_CUDA_CUDA_MATRIX_H_
#define CHELA_KERNELS_CUDA_CUDA_MATRIX_H_

#include <memory>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "kernels/cuda/device_buffer.h"
#include "kernels/cuda/product.h"
#include "kernels/matrix.h"

namespace chela::cuda {

// A weight matrix on the device, laid out as WeightView says. Immutable.
class CudaMatrix final : public Matrix {
 public:
  // Stacks `parts` and converts them to `dtype`. RESOURCE_EXHAUSTED if the
  // device has no room.
  static absl::StatusOr<std::unique_ptr<CudaMatrix>> Make(
      std::span<const MatrixPart> parts, int64_t cols, DType dtype);

  DType dtype() const override { return view_.dtype; }
  int64_t rows() const override { return view_.rows; }
  int64_t cols() const override { return view_.cols; }
  size_t size_bytes() const override { return memory_.size_bytes(); }
  const WeightView& view() const { return view_; }

 private:
  CudaMatrix(const WeightView& view, DeviceBuffer memory)
      : view_(view), memory_(std::move(memory)) {}

  WeightView view_;
  DeviceBuffer memory_;
};

// The view of a matrix that this backend made.
inline const WeightView& ViewOf(const Matrix* matrix) {
  return static_cast<const CudaMatrix*>(matrix)->view();
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_CUDA_MATRIX_H_
