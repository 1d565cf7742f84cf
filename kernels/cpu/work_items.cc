#include "kernels/cpu/work_items.h"

#include <algorithm>
#include <atomic>

namespace chela {

void ForItems(ThreadPool& pool, int64_t workers, int64_t items,
              absl::FunctionRef<void(int64_t worker, int64_t item)> body) {
  workers = std::min(workers, items);
  if (workers <= 1) {
    for (int64_t item = 0; item < items; ++item) body(0, item);
    return;
  }
  std::atomic<int64_t> next = 0;
  pool.Run(workers, [&](int64_t worker) {
    for (;;) {
      const int64_t item = next.fetch_add(1, std::memory_order_relaxed);
      if (item >= items) return;
      body(worker, item);
    }
  });
}

}  // namespace chela
