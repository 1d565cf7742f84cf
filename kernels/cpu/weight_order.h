#ifndef CHELA_KERNELS_CPU_WEIGHT_ORDER_H_
#define CHELA_KERNELS_CPU_WEIGHT_ORDER_H_

#include <cstdint>
#include <unordered_map>

namespace chela {

// Packed panels, as a place in memory. Never read through: the matrix may be
// gone.
struct PanelSpan {
  const void* panels = nullptr;
  int64_t count = 0;
  int64_t panel_bytes = 0;
};

// Which matrix follows which. A model runs its products in the same order step
// after step, so what came next the last time comes next again, and threads
// that wait can fetch it.
//
// Threads: owned by one thread.
class WeightOrder {
 public:
  // Notes that `matrix` is used now, and tells what was used after it before;
  // an empty span if nothing was.
  PanelSpan Visit(const PanelSpan& matrix) {
    if (last_ != nullptr) next_[last_] = matrix;
    last_ = matrix.panels;
    const auto found = next_.find(last_);
    return found == next_.end() ? PanelSpan() : found->second;
  }

 private:
  const void* last_ = nullptr;
  std::unordered_map<const void*, PanelSpan> next_;  // by panels
};

}  // namespace chela

#endif  // CHELA_KERNELS_CPU_WEIGHT_ORDER_H_
