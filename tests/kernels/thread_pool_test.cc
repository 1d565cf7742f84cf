#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <set>
#include <thread>
#include <vector>

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

}  // namespace
}  // namespace chela
