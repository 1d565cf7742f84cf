#include "server/rpc/byte_budget.h"

#include <gtest/gtest.h>

#include <optional>
#include <thread>
#include <vector>

namespace chela {
namespace {

TEST(ByteBudgetTest, SharesComeToNoMoreThanTheLimit) {
  const auto budget = std::make_shared<ByteBudget>();
  ByteBudget::Share one(budget);
  std::optional<ByteBudget::Share> other(std::in_place, budget);
  EXPECT_TRUE(one.Take(60, 100));
  EXPECT_FALSE(other->Take(41, 100));
  EXPECT_TRUE(other->Take(40, 100));
  EXPECT_FALSE(one.Take(1, 100));
  other.reset();
  EXPECT_FALSE(one.Take(41, 100));
  EXPECT_TRUE(one.Take(40, 100));
}

TEST(ByteBudgetTest, CountsRightFromManyThreads) {
  const auto budget = std::make_shared<ByteBudget>();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([budget] {
      for (int round = 0; round < 1000; ++round) {
        ByteBudget::Share share(budget);
        share.Take(7, 20);
        share.Take(3, 20);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ByteBudget::Share all(budget);
  EXPECT_TRUE(all.Take(20, 20));
}

}  // namespace
}  // namespace chela
