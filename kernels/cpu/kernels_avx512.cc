#define CHELA_KERNEL_SET cpu_avx512
#include "kernels/cpu/simd_avx512.h"
// The bodies come after the vectors they are written in.
#include "kernels/cpu/kernel_set.h"

namespace chela {

const CpuKernelTable& Avx512Kernels() {
  static constexpr CpuKernelTable kTable =
      CHELA_KERNEL_SET::MakeTable("avx512");
  return kTable;
}

}  // namespace chela
