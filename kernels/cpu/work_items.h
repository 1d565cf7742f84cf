#ifndef CHELA_KERNELS_CPU_WORK_ITEMS_H_
#define CHELA_KERNELS_CPU_WORK_ITEMS_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "kernels/cpu/thread_pool.h"

namespace chela {

// Calls body(worker, item) once for every item in [0, items), on at most
// `workers` threads of `pool`. Each takes the next item that is left, so items
// may differ in cost. Calls with equal `worker` never overlap: working memory
// is kept by worker, while results may depend on the item only.
void ForItems(ThreadPool& pool, int64_t workers, int64_t items,
              absl::FunctionRef<void(int64_t worker, int64_t item)> body);

// Calls body(item) once for every item in [0, items), on all threads of `pool`.
// Each thread begins at ShareBegin of its own number and goes on to the shares
// of others when its own is done, so that it reads memory in one long stream
// and none waits for one that the system has taken away.
void ForShares(ThreadPool& pool, int64_t items,
               absl::FunctionRef<void(int64_t item)> body);
int64_t ShareBegin(const ThreadPool& pool, int64_t items, int32_t thread);

}  // namespace chela

#endif  // CHELA_KERNELS_CPU_WORK_ITEMS_H_
