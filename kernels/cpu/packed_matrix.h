#ifndef CHELA_KERNELS_CPU_PACKED_MATRIX_H_
#define CHELA_KERNELS_CPU_PACKED_MATRIX_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "kernels/cpu/aligned_memory.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/matrix.h"

namespace chela {

// A matrix [N, K] in panels of 32 outputs, the same for every kernel set:
//   bf16: [ceil(N/32)][ceil(K/2)][32][2]   pairs along k
//   f16:  [ceil(N/32)][K][32]
//   f32:  [ceil(N/32)][K][32]
//   int8: [ceil(N/32)][ceil(K/2)][32][2], then the scales of the outputs, float
// Places beyond N and K hold 0. Immutable once packed.
class PackedMatrix final : public Matrix {
 public:
  // Bytes of one panel, or of the whole matrix.
  static int64_t PanelBytes(int64_t cols, DType dtype);
  static size_t SizeBytes(int64_t rows, int64_t cols, DType dtype);
  static int64_t Panels(int64_t rows) {
    return (rows + kPanelColumns - 1) / kPanelColumns;
  }

  // memory: SizeBytes(rows, cols, dtype) bytes.
  PackedMatrix(int64_t rows, int64_t cols, DType dtype, AlignedMemory memory)
      : rows_(rows), cols_(cols), dtype_(dtype), memory_(std::move(memory)) {}

  DType dtype() const override { return dtype_; }
  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  size_t size_bytes() const override { return memory_.size_bytes(); }

  const void* panels() const { return memory_.data(); }
  // [32 Panels(rows())]; null unless the type is int8.
  float* scales() const;

  // Writes one panel (and its scales) from the stacked parts, whose rows add up
  // to rows(). Different panels may be written by different threads.
  void PackPanel(std::span<const MatrixPart> parts, int64_t panel);

 private:
  void PackInt8(const std::byte* from, DType type, int64_t row);

  int64_t rows_;
  int64_t cols_;
  DType dtype_;
  AlignedMemory memory_;
};

}  // namespace chela

#endif  // CHELA_KERNELS_CPU_PACKED_MATRIX_H_
