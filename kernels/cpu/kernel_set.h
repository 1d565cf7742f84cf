// The kernels of one set and their table. Included once by each kernels_*.cc,
// after its simd_*.h; CHELA_KERNEL_SET is the set's namespace.
#ifndef CHELA_KERNELS_CPU_KERNEL_SET_H_
#define CHELA_KERNELS_CPU_KERNEL_SET_H_

#include "kernels/cpu/attention_kernels.h"
#include "kernels/cpu/attention_replay_kernels.h"
#include "kernels/cpu/explicit_kernels.h"
#include "kernels/cpu/fft_kernels.h"
#include "kernels/cpu/hierarchical_kernels.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/product_kernels.h"
#include "kernels/cpu/row_kernels.h"

namespace chela::CHELA_KERNEL_SET {
namespace {

constexpr CpuKernelTable MakeTable(const char* name) {
  CpuKernelTable table;
  table.name = name;
  FillRowKernels(&table);
  FillProductKernels(&table);
  FillAttentionKernels(&table);
  FillReplayKernels(&table);
  FillHierarchicalKernels(&table);
  FillExplicitKernels(&table);
  FillFftKernels(&table);
  return table;
}

}  // namespace
}  // namespace chela::CHELA_KERNEL_SET

#endif  // CHELA_KERNELS_CPU_KERNEL_SET_H_
