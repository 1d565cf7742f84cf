#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include "kernels/cpu/aligned_memory.h"
#include "kernels/cpu/weight_order.h"
#include "kernels/cpu/work_items.h"

namespace chela {
namespace {

TEST(ThreadPoolTest, RunsEveryTaskOnce) {
  for (const int32_t threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const int64_t tasks : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(tasks));
      pool.Run(tasks, [&](int64_t task) { ++runs[task]; });
      for (const std::atomic<int>& count : runs) EXPECT_EQ(count, 1);
    }
  }
}

TEST(ThreadPoolTest, HasFinishedEveryTaskWhenRunReturns) {
  ThreadPool pool(4);
  std::vector<int64_t> sums(64);  // Plain: Run is what orders the accesses.
  for (int64_t round = 1; round <= 2000; ++round) {
    pool.Run(64, [&](int64_t task) { sums[task] += round; });
    ASSERT_EQ(std::count(sums.begin(), sums.end(), round * (round + 1) / 2),
              64);
  }
}

TEST(ThreadPoolTest, NeverMixesTheTasksOfCallsOfDifferentSizes) {
  ThreadPool pool(3);
  for (int64_t round = 0; round < 3000; ++round) {
    const int64_t tasks = 1 + round * 7 % 13;
    std::atomic<int64_t> ran = 0;
    std::atomic<int64_t> largest = 0;
    pool.Run(tasks, [&](int64_t task) {
      ++ran;
      if (task > largest) largest = task;
    });
    ASSERT_EQ(ran, tasks);
    ASSERT_LT(largest, tasks);
  }
}

TEST(ThreadPoolTest, WakesThreadsThatHaveGoneToSleep) {
  ThreadPool pool(2);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    // Two tasks that need each other end only if two threads run them.
    std::atomic<int> arrived = 0;
    pool.Run(2, [&](int64_t) {
      ++arrived;
      while (arrived < 2) std::this_thread::yield();
    });
  }
}

TEST(ThreadPoolTest, WaitsForATaskThatTakesLong) {
  ThreadPool pool(2);
  std::atomic<bool> slow_done = false;
  pool.Run(2, [&](int64_t task) {
    if (task != 1) return;
    // Far longer than the pool spins.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    slow_done = true;
  });
  EXPECT_TRUE(slow_done);
}

TEST(ThreadPoolTest, LetsOtherThreadsTakeTheTasksOfABlockedOne) {
  ThreadPool pool(2);
  std::atomic<int> others = 0;
  // The first task returns only when all others have run, elsewhere.
  pool.Run(50, [&](int64_t task) {
    if (task != 0) {
      ++others;
      return;
    }
    while (others < 49) std::this_thread::yield();
  });
  EXPECT_EQ(others, 49);
}

TEST(ThreadPoolTest, ComputesWithTheCallerAlone) {
  ThreadPool pool(1);
  std::set<std::thread::id> ids;
  pool.Run(20, [&](int64_t) { ids.insert(std::this_thread::get_id()); });
  EXPECT_EQ(ids, std::set<std::thread::id>{std::this_thread::get_id()});
}

TEST(ThreadPoolTest, StopsAtOnceWhenIdleOrUnused) {
  for (int round = 0; round < 50; ++round) {
    ThreadPool pool(4);
    if (round % 2 == 0) pool.Run(4, [](int64_t) {});
  }
}

TEST(ThreadPoolTest, TellsATaskWhichThreadRunsIt) {
  ThreadPool pool(3);
  for (int round = 0; round < 200; ++round) {
    // By thread and plain: no two tasks of a thread overlap.
    std::vector<int64_t> ran(3);
    pool.RunOnThreads(20, [&](int64_t, int32_t thread) {
      ASSERT_GE(thread, 0);
      ASSERT_LT(thread, 3);
      ++ran[static_cast<size_t>(thread)];
    });
    ASSERT_EQ(ran[0] + ran[1] + ran[2], 20);
  }
}

// A hint may point anywhere, also at nothing, and change at any time.
TEST(ThreadPoolTest, FetchesWithoutTouching) {
  ThreadPool pool(2);
  std::atomic<int64_t> ran = 0;
  for (int64_t round = 0; round < 500; ++round) {
    const auto address = static_cast<uintptr_t>(round % 7) << 40;
    for (const int32_t thread : {0, 1}) {
      pool.FetchWhileWaiting(thread, reinterpret_cast<const void*>(address),
                             round % 3 * 4096);
    }
    pool.Run(2, [&](int64_t) { ++ran; });
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
  EXPECT_EQ(ran, 1000);
}

TEST(ForSharesTest, RunsEveryItemOnceWhateverTheThreads) {
  for (const int32_t threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (const int64_t items : {0, 1, 2, 3, 64, 1001}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(items));
      ForShares(pool, items,
                [&](int64_t item) { ++runs[static_cast<size_t>(item)]; });
      for (const std::atomic<int>& count : runs) EXPECT_EQ(count, 1);
      EXPECT_EQ(ShareBegin(pool, items, 0), 0);
      for (int32_t thread = 1; thread < threads; ++thread) {
        EXPECT_LE(ShareBegin(pool, items, thread - 1),
                  ShareBegin(pool, items, thread));
      }
    }
  }
}

TEST(ForSharesTest, HelpsWithTheSharesOfOthers) {
  ThreadPool pool(2);
  // The first item waits for all others: only helping ends this.
  std::atomic<int> others = 0;
  ForShares(pool, 100, [&](int64_t item) {
    if (item != 0) {
      ++others;
      return;
    }
    while (others < 99) std::this_thread::yield();
  });
  EXPECT_EQ(others, 99);
}

TEST(WeightOrderTest, TellsWhatCameNextTheLastTime) {
  const char memory[3] = {};
  const PanelSpan a{&memory[0], 1, 64};
  const PanelSpan b{&memory[1], 2, 64};
  const PanelSpan c{&memory[2], 3, 64};
  WeightOrder order;
  EXPECT_EQ(order.Visit(a).panels, nullptr);
  EXPECT_EQ(order.Visit(b).panels, nullptr);
  EXPECT_EQ(order.Visit(a).panels, b.panels);
  EXPECT_EQ(order.Visit(c).panels, nullptr);
  EXPECT_EQ(order.Visit(a).count, 3);
}

TEST(MemorySlabsTest, CutsAlignedBlocksThatDoNotOverlapAndOutliveTheSlabs) {
  std::vector<AlignedMemory> blocks;
  {
    MemorySlabs slabs;
    EXPECT_EQ(slabs.Cut(0).data(), nullptr);
    for (const size_t bytes : {1u, 300u, 256u, 5000000u, 7u, 9000000u, 64u}) {
      blocks.push_back(slabs.Cut(bytes));
      ASSERT_NE(blocks.back().data(), nullptr);
      EXPECT_EQ(blocks.back().size_bytes(), bytes);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(blocks.back().data()) % 256, 0u);
    }
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    std::memset(blocks[i].data(), static_cast<int>(i), blocks[i].size_bytes());
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    const auto* bytes = static_cast<const unsigned char*>(blocks[i].data());
    EXPECT_EQ(bytes[0], i);
    EXPECT_EQ(bytes[blocks[i].size_bytes() - 1], i);
  }
}

}  // namespace
}  // namespace chela
