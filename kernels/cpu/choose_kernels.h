#ifndef CHELA_KERNELS_CPU_CHOOSE_KERNELS_H_
#define CHELA_KERNELS_CPU_CHOOSE_KERNELS_H_

#include "kernels/backend.h"
#include "kernels/cpu/kernel_table.h"

namespace chela {

// True if this processor, and the system on it, run the set.
bool HasKernels(CpuKernels set);

// The best set up to `max` that this processor runs; generic at the least.
const CpuKernelTable& ChooseKernels(CpuKernels max);

}  // namespace chela

#endif  // CHELA_KERNELS_CPU_CHOOSE_KERNELS_H_
