// The prefix cache with a store, which these tests hold in their hands.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/server/fake_prefix_store.h"
#include "tests/server/prefix_rig.h"

namespace chela {
namespace {

using test_support::Eventually;
using test_support::ExpectSameBits;
using test_support::FakePrefixStore;
using test_support::JobOf;
using test_support::kFileBytes;
using test_support::Listener;
using test_support::PrefixAnswer;
using test_support::Prompt;
using test_support::PromptOf;
using test_support::Rig;
using test_support::RigOptions;
using test_support::RunToEnd;
using test_support::Tokens;

constexpr uint32_t kPrompts = 25;

// A host with room for half of kPrompts states, and for all of their tokens.
RigOptions Small(PrefixStore& store, int64_t files = 1000) {
  return {.slots = 2,
          .limits = {.prefix_cache_bytes = 560000,
                     .prefix_store_bytes = files * kFileBytes},
          .large_states = true,
          .prefix_store = &store};
}

class PrefixCacheStoreTest : public ::testing::TestWithParam<LongConvKind> {};

TEST_P(PrefixCacheStoreTest, AHitFromTheStoreGivesTheBitsOfAMiss) {
  FakePrefixStore store;
  RigOptions options = Small(store);
  options.kind = GetParam();
  Rig rig(options);
  Rig plain({.slots = 2, .kind = GetParam(), .large_states = true});
  for (uint32_t i = 0; i < kPrompts; ++i) {
    EXPECT_EQ(RunToEnd(rig, JobOf(Prompt(600, i + 1))).cached(), 0);
  }
  ASSERT_GT(store.files(), 5);
  std::map<CacheTier, int> tiers;
  for (uint32_t i = 0; i < kPrompts; ++i) {
    const GenerateJob job = JobOf(Prompt(600, i + 1));
    const PrefixAnswer got = RunToEnd(rig, job);
    EXPECT_EQ(got.cached(), 512);
    ExpectSameBits(got, RunToEnd(plain, job));
    ++tiers[got.end.usage.cached_tier];
  }
  EXPECT_GT(tiers[CacheTier::kDisk], 5);
  EXPECT_EQ(tiers[CacheTier::kNone], 0);
  EXPECT_EQ(rig.Metric("chela_prefix_cache_tier_hits_total", ",tier=\"disk\""),
            512.0 * tiers[CacheTier::kDisk]);
  EXPECT_EQ(rig.Metric("chela_prefix_cache_hits_total"), 512.0 * kPrompts);
  EXPECT_EQ(rig.Metric("chela_prefix_cache_evictions_total"), 0);
  EXPECT_EQ(rig.Metric("chela_prefix_cache_disk_bytes"),
            static_cast<double>(store.files() * kFileBytes));
  // What was read is on the host now.
  const GenerateJob last = JobOf(Prompt(600, kPrompts));
  EXPECT_NE(RunToEnd(rig, last).end.usage.cached_tier, CacheTier::kDisk);
}

INSTANTIATE_TEST_SUITE_P(
    EveryKernel, PrefixCacheStoreTest,
    ::testing::Values(LongConvKind::kHierarchical, LongConvKind::kExplicit),
    [](const auto& test) {
      return std::string(
          test.param == LongConvKind::kExplicit ? "Explicit" : "Hierarchical");
    });

TEST(PrefixCacheStoreBudgetTest, NeverHasMoreFilesThanItMay) {
  FakePrefixStore store;
  Rig rig(Small(store, 4));
  for (uint32_t i = 1; i <= kPrompts; ++i) {
    RunToEnd(rig, JobOf(Prompt(300, i)));
  }
  EXPECT_EQ(store.most(), 4);
  EXPECT_GT(rig.Metric("chela_prefix_cache_evictions_total"), 5);
  EXPECT_LE(rig.Metric("chela_prefix_cache_disk_bytes"), 4.0 * kFileBytes);
}

TEST(PrefixCacheStoreBudgetTest, DropsWhatTheStoreDoesNotTake) {
  FakePrefixStore store;
  store.Accept(false);
  Rig rig(Small(store));
  for (uint32_t i = 1; i <= kPrompts; ++i) {
    RunToEnd(rig, JobOf(Prompt(300, i)));
  }
  EXPECT_EQ(store.files(), 0);
  EXPECT_GT(rig.Metric("chela_prefix_cache_evictions_total"), 5);
}

// Fills the store: prompts 2 and 3 are only there afterwards (the first one has
// a slot that nobody wanted).
void Fill(Rig& rig) {
  for (uint32_t i = 1; i <= kPrompts; ++i) {
    RunToEnd(rig, JobOf(Prompt(600, i)));
  }
}

TEST(PrefixCacheStoreWaitTest, WhatIsLostIsAMiss) {
  FakePrefixStore store;
  Rig rig(Small(store));
  Rig plain({.slots = 2, .large_states = true});
  Fill(rig);
  store.LoseAll();
  const GenerateJob job = JobOf(Prompt(600, 2));
  const PrefixAnswer got = RunToEnd(rig, job);
  EXPECT_EQ(got.cached(), 0);
  ExpectSameBits(got, RunToEnd(plain, job));
  EXPECT_EQ(store.reads(), 1);
  // It is not asked for again.
  RunToEnd(rig, job);
  EXPECT_EQ(store.reads(), 1);
}

TEST(PrefixCacheStoreWaitTest, ASlowStoreHoldsUpNobodyElseAndNotForLong) {
  FakePrefixStore store;
  Rig rig(Small(store));
  Fill(rig);
  store.HoldReads(true);
  const Clock::time_point begin = Clock::now();
  Listener waiting;
  GenerateJob job = JobOf(Prompt(600, 2));
  job.stream = waiting.stream();
  ASSERT_TRUE(rig.engine->Submit(std::move(job)).ok());
  ASSERT_TRUE(Eventually([&] { return store.reads() == 1; }));
  // Others run meanwhile, in the other slot.
  EXPECT_EQ(RunToEnd(rig, JobOf(Prompt(300, 77))).end.reason,
            FinishReason::kLength);
  EXPECT_FALSE(waiting.ended());
  const GenerationEnd end = waiting.Wait();
  EXPECT_EQ(end.reason, FinishReason::kLength);
  EXPECT_EQ(end.usage.cached_prompt_tokens, 0);
  EXPECT_GE(Clock::now() - begin, std::chrono::milliseconds(500));
  // The next ones do not wait for it at all.
  EXPECT_EQ(RunToEnd(rig, JobOf(Prompt(600, 3))).cached(), 0);
  EXPECT_EQ(store.reads(), 1);
}

TEST(PrefixCacheStoreWaitTest, ACancelAndADeadlineEndTheWait) {
  FakePrefixStore store;
  Rig rig(Small(store));
  Fill(rig);
  store.HoldReads(true);
  Listener cancelled;
  GenerateJob job = JobOf(Prompt(600, 2));
  job.stream = cancelled.stream();
  ASSERT_TRUE(rig.engine->Submit(std::move(job)).ok());
  ASSERT_TRUE(Eventually([&] { return store.reads() == 1; }));
  cancelled.stream()->Cancel();
  EXPECT_EQ(cancelled.Wait().reason, FinishReason::kCancelled);
  Listener overdue;
  job = JobOf(Prompt(600, 3));
  job.stream = overdue.stream();
  job.header.deadline = Clock::now() + std::chrono::milliseconds(50);
  ASSERT_TRUE(rig.engine->Submit(std::move(job)).ok());
  EXPECT_EQ(overdue.Wait().reason, FinishReason::kDeadline);
}

TEST(PrefixCacheStoreWaitTest, PromptsThatWaitForOneStateShareItsReading) {
  FakePrefixStore store;
  Rig rig(Small(store));
  Fill(rig);
  store.HoldReads(true);
  std::vector<Listener> listeners(2);
  for (Listener& listener : listeners) {
    GenerateJob job = JobOf(Prompt(600, 2));
    job.stream = listener.stream();
    ASSERT_TRUE(rig.engine->Submit(std::move(job)).ok());
  }
  for (Listener& listener : listeners) listener.Wait();
  EXPECT_EQ(store.reads(), 1);
}

TEST(PrefixCacheRestartTest, AStopStoresWhatIsInMemoryForTheNextEngine) {
  FakePrefixStore store;
  const RigOptions options{
      .slots = 4,
      .limits = {.prefix_cache_bytes = 1 << 20, .prefix_store_bytes = 1 << 20},
      .prefix_store = &store};
  {
    Rig rig(options);
    GenerateJob job = JobOf(PromptOf(600, 1500, 1));
    job.cache_salt = "tenant";
    job.cache_at = {600};
    RunToEnd(rig, job);
    EXPECT_EQ(store.files(), 0);
  }
  EXPECT_EQ(store.files(), 2);
  Rig rig(options);
  EXPECT_GT(rig.Metric("chela_prefix_cache_disk_bytes"), 0);
  Rig plain({.slots = 4});
  GenerateJob job = JobOf(PromptOf(600, 1500, 2));
  EXPECT_EQ(RunToEnd(rig, job).cached(), 0);  // of another salt
  job.cache_salt = "tenant";
  const PrefixAnswer got = RunToEnd(rig, job);
  EXPECT_EQ(got.cached(), 512);
  EXPECT_EQ(got.end.usage.cached_tier, CacheTier::kDisk);
  ExpectSameBits(got, RunToEnd(plain, job));
}

TEST(PrefixCacheRestartTest, KeepsTheLatestUsedWhereNotAllFit) {
  FakePrefixStore store;
  RigOptions options{.slots = 16,
                     .limits = {.prefix_cache_bytes = 1 << 20,
                                .prefix_store_bytes = 3 * kFileBytes},
                     .prefix_store = &store};
  {
    Rig rig(options);
    for (uint32_t i = 1; i <= 6; ++i) RunToEnd(rig, JobOf(Prompt(300, i)));
    RunToEnd(rig, JobOf(Prompt(300, 2)));
  }
  std::set<Tokens> want;
  for (const uint32_t i : {2U, 6U, 5U}) {
    Tokens tokens = Prompt(300, i);
    tokens.resize(256);
    want.insert(tokens);
  }
  EXPECT_EQ(store.Texts(), want);
  // The next engine drops them in the order of their use.
  options.limits.prefix_store_bytes = kFileBytes;
  Rig rig(options);
  Tokens latest = Prompt(300, 2);
  latest.resize(256);
  EXPECT_EQ(store.Texts(), std::set<Tokens>{latest});
}

}  // namespace
}  // namespace chela
