#include "kernels/cuda/cuda_matrix.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/half.h"
#include "kernels/status_macros.h"

namespace chela::cuda {
namespace {

// What is converted on the host at a time.
constexpr int64_t kStagedBytes = 16 << 20;

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

float Widen(float x, DType) { return x; }
float Widen(uint16_t bits, DType dtype) {
  return dtype == DType::kBF16 ? FromBf16(bits) : FromF16(bits);
}

// The types are decided outside the loop, so that it can be vectorised.
template <typename From>
void ConvertFrom(const std::byte* from, DType from_type, int64_t count,
                 DType to_type, std::byte* to) {
  const auto each = [&](auto convert) {
    for (int64_t i = 0; i < count; ++i) {
      From stored;
      std::memcpy(&stored, from + i * int64_t{sizeof(From)}, sizeof(From));
      const auto x = convert(Widen(stored, from_type));
      std::memcpy(to + i * int64_t{sizeof(x)}, &x, sizeof(x));
    }
  };
  if (to_type == DType::kF32) return each([](float x) { return x; });
  if (to_type == DType::kBF16) return each([](float x) { return ToBf16(x); });
  each([](float x) { return ToF16(x); });
}

void Convert(const std::byte* from, DType from_type, int64_t count,
             DType to_type, std::byte* to) {
  if (from_type == DType::kF32) {
    return ConvertFrom<float>(from, from_type, count, to_type, to);
  }
  ConvertFrom<uint16_t>(from, from_type, count, to_type, to);
}

// Copies `rows` dense rows to device rows `stride` elements apart.
absl::Status UploadRows(const void* from, int64_t rows, const WeightView& view,
                        std::byte* to) {
  const size_t size = SizeOf(view.dtype);
  const size_t row_bytes = static_cast<size_t>(view.cols) * size;
  return CudaStatus(
      cudaMemcpy2D(to, static_cast<size_t>(view.stride) * size, from, row_bytes,
                   row_bytes, static_cast<size_t>(rows),
                   cudaMemcpyHostToDevice),
      absl::StrCat("upload ", rows, " rows of a matrix"));
}

absl::Status UploadPart(const MatrixPart& part, const WeightView& view,
                        std::byte* to) {
  if (part.dtype == view.dtype) {
    return UploadRows(part.data, part.rows, view, to);
  }
  const auto size = static_cast<int64_t>(SizeOf(view.dtype));
  const auto from_size = static_cast<int64_t>(SizeOf(part.dtype));
  const auto* from = static_cast<const std::byte*>(part.data);
  const int64_t rows = std::max<int64_t>(1, kStagedBytes / (view.cols * size));
  std::vector<std::byte> staged(
      static_cast<size_t>(std::min(rows, part.rows) * view.cols * size));
  for (int64_t row = 0; row < part.rows; row += rows) {
    const int64_t count = std::min(rows, part.rows - row);
    Convert(from + row * view.cols * from_size, part.dtype, count * view.cols,
            view.dtype, staged.data());
    CHELA_RETURN_IF_ERROR(
        UploadRows(staged.data(), count, view, to + row * view.stride * size));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<CudaMatrix>> CudaMatrix::Make(
    std::span<const MatrixPart> parts, int64_t cols, DType dtype) {
  int64_t rows = 0;
  for (const MatrixPart& part : parts) rows += part.rows;
  const int64_t stride = RoundUp(cols, dtype == DType::kF32 ? 32 : 64);
  const int64_t padded_rows = RoundUp(rows, 128);
  constexpr int64_t kMost = int64_t{1} << 30;
  if (rows > kMost || stride > kMost) {
    return absl::InvalidArgumentError(absl::StrCat(
        "pack: [", rows, ", ", cols, "]; want at most 2^30 rows and columns"));
  }
  const auto size = static_cast<int64_t>(SizeOf(dtype));
  absl::StatusOr<DeviceBuffer> memory =
      DeviceBuffer::Allocate(static_cast<size_t>(padded_rows * stride * size));
  if (!memory.ok()) return memory.status();
  const WeightView view = {.data = memory->data(),
                           .dtype = dtype,
                           .rows = static_cast<int32_t>(rows),
                           .cols = static_cast<int32_t>(cols),
                           .stride = static_cast<int32_t>(stride),
                           .padded_rows = static_cast<int32_t>(padded_rows)};
  auto* to = static_cast<std::byte*>(memory->data());
  for (const MatrixPart& part : parts) {
    CHELA_RETURN_IF_ERROR(UploadPart(part, view, to));
    to += part.rows * stride * size;
  }
  return std::unique_ptr<CudaMatrix>(new CudaMatrix(view, *std::move(memory)));
}

}  // namespace chela::cuda
