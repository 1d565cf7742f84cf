#include "kernels/cpu/work_items.h"

#include <algorithm>
#include <array>
#include <atomic>

namespace chela {
namespace {

// Threads beyond start in the shares of others.
constexpr int64_t kMaxShares = 64;

int64_t Shares(const ThreadPool& pool) {
  return std::min<int64_t>(pool.threads(), kMaxShares);
}

}  // namespace

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

int64_t ShareBegin(const ThreadPool& pool, int64_t items, int32_t thread) {
  const int64_t shares = Shares(pool);
  return items * (thread % shares) / shares;
}

void ForShares(ThreadPool& pool, int64_t items,
               absl::FunctionRef<void(int64_t item)> body) {
  const int64_t shares = Shares(pool);
  if (shares == 1 || items <= 1) {
    for (int64_t item = 0; item < items; ++item) body(item);
    return;
  }
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };
  std::array<Share, kMaxShares> share;
  for (int64_t i = 0; i < shares; ++i) {
    share[i].next.store(items * i / shares, std::memory_order_relaxed);
    share[i].end = items * (i + 1) / shares;
  }
  pool.RunOnThreads(shares, [&](int64_t, int32_t thread) {
    for (int64_t i = 0; i < shares; ++i) {
      Share& from = share[(thread + i) % shares];
      for (;;) {
        const int64_t item = from.next.fetch_add(1, std::memory_order_relaxed);
        if (item >= from.end) break;
        body(item);
      }
    }
  });
}

}  // namespace chela
