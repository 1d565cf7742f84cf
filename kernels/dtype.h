#ifndef CHELA_KERNELS_DTYPE_H_
#define CHELA_KERNELS_DTYPE_H_

#include <cstddef>

namespace chela {

// Element type of a stored tensor or of a packed matrix. kI8 is of packed
// matrices only: integers of -127 to 127 times a float32 scale of their row.
enum class DType { kF32, kBF16, kF16, kI8 };
inline constexpr int kNumDTypes = 4;

inline constexpr size_t SizeOf(DType dtype) {
  return dtype == DType::kF32 ? 4 : dtype == DType::kI8 ? 1 : 2;
}

// "F32", "BF16", "F16", "I8": the names that safetensors files use.
inline constexpr const char* Name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kBF16:
      return "BF16";
    case DType::kF16:
      return "F16";
    case DType::kI8:
      return "I8";
  }
  return "?";
}

}  // namespace chela

#endif  // CHELA_KERNELS_DTYPE_H_
