#include "kernels/cpu/choose_kernels.h"

namespace chela {

#if defined(__x86_64__)

bool HasKernels(CpuKernels set) {
  // The builtin asks the system too (XGETBV), not the processor alone.
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") &&
                    __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  switch (set) {
    case CpuKernels::kGeneric:
      return true;
    case CpuKernels::kAvx2:
      return avx2;
    case CpuKernels::kAvx512:
      return avx512;
    case CpuKernels::kAvx512Bf16:
      return avx512 && __builtin_cpu_supports("avx512bf16");
  }
  return false;
}

const CpuKernelTable& ChooseKernels(CpuKernels max) {
  if (max >= CpuKernels::kAvx512Bf16 && HasKernels(CpuKernels::kAvx512Bf16)) {
    return Avx512Bf16Kernels();
  }
  if (max >= CpuKernels::kAvx512 && HasKernels(CpuKernels::kAvx512)) {
    return Avx512Kernels();
  }
  if (max >= CpuKernels::kAvx2 && HasKernels(CpuKernels::kAvx2)) {
    return Avx2Kernels();
  }
  return GenericKernels();
}

#else

bool HasKernels(CpuKernels set) { return set == CpuKernels::kGeneric; }

const CpuKernelTable& ChooseKernels(CpuKernels /*max*/) {
  return GenericKernels();
}

#endif

}  // namespace chela
