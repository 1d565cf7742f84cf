#ifndef CHELA_KERNELS_DTYPE_H_
#define CHELA_KERNELS_DTYPE_H_

#include <cstddef>

namespace chela {

// Element type of a stored tensor or of a packed matrix.
enum class DType { kF32, kBF16, kF16 };

inline constexpr size_t SizeOf(DType dtype) {
  return dtype == DType::kF32 ? 4 : 2;
}

// "F32", "BF16", "F16": the names that safetensors files use.
inline constexpr const char* Name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kBF16:
      return "BF16";
    case DType::kF16:
      return "F16";
  }
  return "?";
}

}  // namespace chela

#endif  // CHELA_KERNELS_DTYPE_H_
