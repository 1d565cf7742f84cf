#define CHELA_KERNEL_SET cpu_generic
#include "kernels/cpu/simd_generic.h"
// The bodies come after the vectors they are written in.
#include "kernels/cpu/kernel_set.h"

namespace chela {

const CpuKernelTable& GenericKernels() {
  static constexpr CpuKernelTable kTable =
      CHELA_KERNEL_SET::MakeTable("generic");
  return kTable;
}

}  // namespace chela
