#include "kernels/cpu/packed_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/half.h"

namespace chela {
namespace {

template <typename T>
T Read(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

float ReadFloat(const std::byte* from, DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return Read<float>(from);
    case DType::kBF16:
      return FromBf16(Read<uint16_t>(from));
    case DType::kF16:
      return FromF16(Read<uint16_t>(from));
    case DType::kI8:
      break;  // never stored
  }
  return 0.0f;
}

// A stored row as 16-bit values of `to`.
void CopyHalves(const std::byte* from, DType from_type, DType to, int64_t cols,
                uint16_t* column, int64_t depth) {
  const auto size = static_cast<int64_t>(SizeOf(from_type));
  for (int64_t k = 0; k < cols; ++k) {
    uint16_t bits = 0;
    if (from_type == to) {
      bits = Read<uint16_t>(from + 2 * k);
    } else {
      const float x = ReadFloat(from + size * k, from_type);
      bits = to == DType::kBF16 ? ToBf16(x) : ToF16(x);
    }
    column[k / depth * depth * kPanelColumns + k % depth] = bits;
  }
}

// The address of row `row` of the stacked parts, and its type.
std::pair<const std::byte*, DType> FindRow(std::span<const MatrixPart> parts,
                                           int64_t row, int64_t cols) {
  for (const MatrixPart& part : parts) {
    if (row < part.rows) {
      const auto row_bytes = cols * static_cast<int64_t>(SizeOf(part.dtype));
      return {static_cast<const std::byte*>(part.data) + row * row_bytes,
              part.dtype};
    }
    row -= part.rows;
  }
  return {nullptr, DType::kF32};
}

}  // namespace

int64_t PackedMatrix::PanelBytes(int64_t cols, DType dtype) {
  const bool pairs = dtype == DType::kBF16 || dtype == DType::kI8;
  const int64_t depth = pairs ? (cols + 1) / 2 * 2 : cols;
  return depth * kPanelColumns * static_cast<int64_t>(SizeOf(dtype));
}

size_t PackedMatrix::SizeBytes(int64_t rows, int64_t cols, DType dtype) {
  const int64_t scales =
      dtype == DType::kI8 ? kPanelColumns * static_cast<int64_t>(sizeof(float))
                          : 0;
  return static_cast<size_t>(Panels(rows) * (PanelBytes(cols, dtype) + scales));
}

float* PackedMatrix::scales() const {
  if (dtype_ != DType::kI8) return nullptr;
  return reinterpret_cast<float*>(static_cast<std::byte*>(memory_.data()) +
                                  Panels(rows_) * PanelBytes(cols_, dtype_));
}

void PackedMatrix::PackInt8(const std::byte* from, DType type, int64_t row) {
  const auto size = static_cast<int64_t>(SizeOf(type));
  float largest = 0.0f;
  for (int64_t k = 0; k < cols_; ++k) {
    largest = std::max(largest, std::fabs(ReadFloat(from + size * k, type)));
  }
  const float scale = largest / 127.0f;
  scales()[row] = scale;
  if (scale == 0.0f) return;
  auto* column = static_cast<int8_t*>(memory_.data()) +
                 row / kPanelColumns * PanelBytes(cols_, dtype_) +
                 row % kPanelColumns * 2;
  for (int64_t k = 0; k < cols_; ++k) {
    const float x = std::nearbyint(ReadFloat(from + size * k, type) / scale);
    // A scale that is itself subnormal may be off by a good part.
    column[k / 2 * 2 * kPanelColumns + k % 2] =
        static_cast<int8_t>(std::clamp(x, -127.0f, 127.0f));
  }
}

void PackedMatrix::PackPanel(std::span<const MatrixPart> parts, int64_t panel) {
  const int64_t panel_bytes = PanelBytes(cols_, dtype_);
  std::byte* to = static_cast<std::byte*>(memory_.data()) + panel * panel_bytes;
  std::memset(to, 0, static_cast<size_t>(panel_bytes));
  if (dtype_ == DType::kI8) {
    std::fill_n(scales() + panel * kPanelColumns, kPanelColumns, 0.0f);
  }
  for (int64_t column = 0; column < kPanelColumns; ++column) {
    const int64_t row = panel * kPanelColumns + column;
    if (row >= rows_) break;
    const auto [from, type] = FindRow(parts, row, cols_);
    if (dtype_ == DType::kI8) {
      PackInt8(from, type, row);
      continue;
    }
    if (dtype_ == DType::kF32) {
      const auto size = static_cast<int64_t>(SizeOf(type));
      float* floats = reinterpret_cast<float*>(to) + column;
      for (int64_t k = 0; k < cols_; ++k) {
        floats[k * kPanelColumns] = ReadFloat(from + size * k, type);
      }
      continue;
    }
    const int64_t depth = dtype_ == DType::kBF16 ? 2 : 1;
    CopyHalves(from, type, dtype_, cols_,
               reinterpret_cast<uint16_t*>(to) + column * depth, depth);
  }
}

}  // namespace chela
