#define CHELA_KERNEL_SET cpu_avx2
#include "kernels/cpu/simd_avx2.h"
// The bodies come after the vectors they are written in.
#include "kernels/cpu/kernel_set.h"

namespace chela {

const CpuKernelTable& Avx2Kernels() {
  static constexpr CpuKernelTable kTable = CHELA_KERNEL_SET::MakeTable("avx2");
  return kTable;
}

}  // namespace chela
