// States that requests pin: what they outlast, what bounds them, when they end.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "server/engine/prefix_tree.h"
#include "tests/server/fake_prefix_store.h"
#include "tests/server/prefix_rig.h"
#include "tests/server/prefix_tree_rig.h"

namespace chela {
namespace {

using std::chrono::seconds;
using test_support::Count;
using test_support::Eventually;
using test_support::ExpectSameBits;
using test_support::FakePrefixStore;
using test_support::JobOf;
using test_support::kFileBytes;
using test_support::kNoLimit;
using test_support::PrefixAnswer;
using test_support::Prompt;
using test_support::Rig;
using test_support::RigOptions;
using test_support::RunToEnd;
using test_support::Tokens;

CachedState Some() {
  return {.slot = {}, .bytes = std::make_unique<std::byte[]>(1)};
}

TEST(PrefixTreePinTest, KeepsAPinnedStateAndItsTokens) {
  constexpr int64_t kBound = 20000;
  PrefixTree tree(kBound);
  tree.Put("", Count(0, 1000), Some());
  PrefixTree::Node* const node = tree.StateAt("", Count(0, 1000));
  ASSERT_NE(node, nullptr);
  ASSERT_TRUE(tree.Pin(*node));
  EXPECT_EQ(tree.Oldest(), nullptr);
  EXPECT_EQ(tree.OldestOnHost(), nullptr);
  for (int32_t i = 1; i < 50; ++i) {
    tree.Insert("", Count(10000 * i, 700));
    tree.Insert("", Count(0, 500 + i));  // a way that it shares
    ASSERT_LE(tree.bytes(), kBound);
    ASSERT_EQ(tree.StateAt("", Count(0, 1000)), node);
  }
  EXPECT_EQ(tree.states_on_host(), 1);
  tree.Unpin(*node);
  EXPECT_EQ(tree.OldestOnHost(), node);
  for (int32_t i = 1; i < 50; ++i) tree.Insert("", Count(10000 * i, 700));
  EXPECT_EQ(tree.StateAt("", Count(0, 1000)), nullptr);
  EXPECT_EQ(tree.dropped_states(), 1);
}

TEST(PrefixTreePinTest, PinsNoMoreThanHalfOfItsBound) {
  constexpr int64_t kBound = 20000;
  PrefixTree tree(kBound);
  std::vector<PrefixTree::Node*> pinned;
  for (int32_t i = 0; i < 10; ++i) {
    tree.Put("", Count(10000 * i, 400), Some());
    PrefixTree::Node* const node = tree.StateAt("", Count(10000 * i, 400));
    if (!tree.Pin(*node)) break;
    pinned.push_back(node);
  }
  EXPECT_GE(pinned.size(), 2U);
  EXPECT_LE(static_cast<int64_t>(pinned.size()) * 1600, kBound / 2);
  // What is longer than the rest of the bound does not stay, and does no harm.
  tree.Put("", Count(500000, 4000), Some());
  EXPECT_EQ(tree.pinned().size(), pinned.size());
  for (size_t i = 0; i < pinned.size(); ++i) {
    const auto first = static_cast<int32_t>(10000 * i);
    EXPECT_EQ(tree.Find("", Count(first, 400), kNoLimit).node, pinned[i]);
  }
  EXPECT_LE(tree.bytes(), kBound);
  // A pin that ended makes room for another.
  tree.Unpin(*pinned[0]);
  tree.Put("", Count(600000, 400), Some());
  EXPECT_TRUE(tree.Pin(*tree.StateAt("", Count(600000, 400))));
}

// A host with room for some five states, and one slot.
RigOptions Small() {
  return {.slots = 1, .limits = {.prefix_cache_bytes = 80000}};
}

GenerateJob Pinning(Tokens prompt, int64_t at, int64_t for_seconds) {
  GenerateJob job = JobOf(std::move(prompt));
  job.cache_at = {at};
  job.cache_pin = seconds(for_seconds);
  return job;
}

// Uses more states than the host has room for.
void Flood(Rig& rig, uint32_t first_seed) {
  const double before = rig.Metric("chela_prefix_cache_evictions_total");
  for (uint32_t i = 0; i < 12; ++i) {
    RunToEnd(rig, JobOf(Prompt(300, first_seed + i)));
    EXPECT_LE(rig.Metric("chela_prefix_cache_bytes"), 80000);
  }
  EXPECT_GT(rig.Metric("chela_prefix_cache_evictions_total"), before + 2);
}

TEST(PrefixPinTest, APinnedStateOutlastsEverythingThatIsUsed) {
  Rig rig(Small());
  Rig plain({.slots = 1});
  const PrefixAnswer first = RunToEnd(rig, Pinning(Prompt(300), 300, 3600));
  EXPECT_EQ(first.end.usage.pinned_tokens, 256);
  EXPECT_GT(rig.Metric("chela_prefix_cache_pinned_bytes"), 0);
  RunToEnd(rig, JobOf(Prompt(300, 2)));
  Flood(rig, 1000);
  EXPECT_EQ(RunToEnd(rig, JobOf(Prompt(300, 2))).cached(), 0);
  const PrefixAnswer hit = RunToEnd(rig, JobOf(Prompt(300)));
  EXPECT_EQ(hit.cached(), 256);
  EXPECT_EQ(hit.end.usage.pinned_tokens, 0);  // It did not ask for it.
  ExpectSameBits(hit, RunToEnd(plain, JobOf(Prompt(300))));
  // 0 seconds end it.
  EXPECT_EQ(RunToEnd(rig, Pinning(Prompt(300), 256, 0)).cached(), 256);
  EXPECT_EQ(rig.Metric("chela_prefix_cache_pinned_bytes"), 0);
  Flood(rig, 2000);
  EXPECT_EQ(RunToEnd(rig, JobOf(Prompt(300))).cached(), 0);
}

TEST(PrefixPinTest, APinEndsByItselfAlsoWhileNothingRuns) {
  Rig rig(Small());
  RunToEnd(rig, Pinning(Prompt(300), 300, 1));
  RunToEnd(rig, Pinning(Prompt(300, 2), 300, 3600));
  EXPECT_TRUE(Eventually([&] {
    return rig.Metric("chela_prefix_cache_pinned_bytes") ==
           static_cast<double>(rig.pool->slot_bytes());
  }));
  Flood(rig, 1000);
  EXPECT_EQ(RunToEnd(rig, JobOf(Prompt(300))).cached(), 0);
  EXPECT_EQ(RunToEnd(rig, JobOf(Prompt(300, 2))).cached(), 256);
}

TEST(PrefixPinTest, ALaterPinProlongsAndNeverShortens) {
  Rig rig(Small());
  RunToEnd(rig, Pinning(Prompt(300), 300, 3600));
  RunToEnd(rig, Pinning(Prompt(300), 300, 1));
  RunToEnd(rig, Pinning(Prompt(300, 2), 300, 1));
  RunToEnd(rig, Pinning(Prompt(300, 2), 300, 3600));
  const double both = rig.Metric("chela_prefix_cache_pinned_bytes");
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));
  Flood(rig, 1000);
  EXPECT_EQ(rig.Metric("chela_prefix_cache_pinned_bytes"), both);
  EXPECT_EQ(RunToEnd(rig, JobOf(Prompt(300))).cached(), 256);
  EXPECT_EQ(RunToEnd(rig, JobOf(Prompt(300, 2))).cached(), 256);
}

TEST(PrefixPinTest, NoMoreIsPinnedThanMayBe) {
  RigOptions options = Small();
  options.limits.prefix_cache_bytes = 1 << 20;
  {
    Rig rig(options);
    options.limits.prefix_pinned_bytes = 2 * rig.pool->slot_bytes();
  }
  Rig rig(options);
  std::vector<int32_t> pinned;
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    pinned.push_back(RunToEnd(rig, Pinning(Prompt(300, seed), 300, 3600))
                         .end.usage.pinned_tokens);
  }
  EXPECT_EQ(pinned, (std::vector<int32_t>{256, 256, 0, 0}));
  EXPECT_EQ(rig.Metric("chela_prefix_cache_pinned_bytes"),
            static_cast<double>(options.limits.prefix_pinned_bytes));
  // The answer is there all the same, and its state is kept as others are.
  EXPECT_EQ(RunToEnd(rig, JobOf(Prompt(300, 4))).cached(), 256);

  options.limits.prefix_pinned_bytes = 0;
  Rig none(options);
  const PrefixAnswer answer = RunToEnd(none, Pinning(Prompt(300), 300, 3600));
  EXPECT_EQ(answer.end.usage.pinned_tokens, 0);
  EXPECT_EQ(answer.end.reason, FinishReason::kLength);
}

TEST(PrefixPinTest, AtMostHalfOfTheBudgetIsPinned) {
  RigOptions options = Small();
  options.limits.prefix_cache_bytes = 400000;
  Rig rig(options);
  for (uint32_t seed = 1; seed <= 100; ++seed) {
    RunToEnd(rig, Pinning(Prompt(300, seed), 300, 3600));
  }
  EXPECT_LE(rig.Metric("chela_prefix_cache_pinned_bytes"), 200000);
  EXPECT_GT(rig.Metric("chela_prefix_cache_pinned_bytes"), 20000);
  EXPECT_LE(rig.Metric("chela_prefix_cache_bytes"), 400000);
  // The others have the rest.
  RunToEnd(rig, JobOf(Prompt(300, 1000)));
  EXPECT_EQ(RunToEnd(rig, JobOf(Prompt(300, 1000))).cached(), 256);
}

TEST(PrefixPinTest, APointThatIsGoneIsReadAgain) {
  Rig rig({.slots = 4, .limits = {.prefix_cache_bytes = 16 << 20}});
  Rig plain({.slots = 4});
  RunToEnd(rig, JobOf(Prompt(1000)));  // keeps 768 alone
  const GenerateJob job = Pinning(Prompt(1000), 300, 3600);
  const PrefixAnswer again = RunToEnd(rig, job);
  EXPECT_EQ(again.cached(), 0);
  EXPECT_EQ(again.end.usage.pinned_tokens, 256);
  ExpectSameBits(again, RunToEnd(plain, job));
  const PrefixAnswer hit = RunToEnd(rig, job);
  EXPECT_EQ(hit.cached(), 768);
  EXPECT_EQ(hit.end.usage.pinned_tokens, 256);
  ExpectSameBits(hit, RunToEnd(plain, job));
}

TEST(PrefixPinTest, PinsSeveralPointsOfAPromptAndNoneBeforeTheFirstOfTheGrid) {
  Rig rig({.slots = 4, .limits = {.prefix_cache_bytes = 16 << 20}});
  Tokens prompt = Prompt(1100);
  prompt.resize(1024);
  GenerateJob job = Pinning(prompt, 255, 3600);
  EXPECT_EQ(RunToEnd(rig, job).end.usage.pinned_tokens, 0);
  job.cache_at = {1024, 300, 600, 511};
  EXPECT_EQ(RunToEnd(rig, job).end.usage.pinned_tokens, 1024);
  EXPECT_EQ(rig.Metric("chela_prefix_cache_pinned_bytes"),
            3.0 * static_cast<double>(rig.pool->slot_bytes()));
  // Of its salt alone.
  job.cache_salt = "another";
  job.cache_pin = seconds(0);
  RunToEnd(rig, job);
  EXPECT_GT(rig.Metric("chela_prefix_cache_pinned_bytes"), 0);
  job.cache_salt = "";
  RunToEnd(rig, job);
  EXPECT_EQ(rig.Metric("chela_prefix_cache_pinned_bytes"), 0);
}

TEST(PrefixPinTest, APinnedStateTakesNoSlot) {
  Rig rig({.slots = 4, .limits = {.prefix_cache_bytes = 16 << 20}});
  RunToEnd(rig, JobOf(Prompt(300)));
  EXPECT_EQ(rig.Metric("chela_state_slots", ",state=\"cached\""), 1);
  RunToEnd(rig, Pinning(Prompt(300), 300, 3600));
  EXPECT_EQ(rig.Metric("chela_state_slots", ",state=\"cached\""), 0);
  EXPECT_EQ(RunToEnd(rig, JobOf(Prompt(300))).end.usage.cached_tier,
            CacheTier::kHost);
}

TEST(PrefixPinTest, AStateThatOnlyTheStoreHasIsPinnedOnceItIsRead) {
  FakePrefixStore store;
  RigOptions options{.slots = 1,
                     .limits = {.prefix_cache_bytes = 560000,
                                .prefix_store_bytes = 1000 * kFileBytes},
                     .large_states = true,
                     .prefix_store = &store};
  Rig rig(options);
  for (uint32_t i = 1; i <= 25; ++i) RunToEnd(rig, JobOf(Prompt(300, i)));
  ASSERT_GT(store.files(), 5);
  const PrefixAnswer hit = RunToEnd(rig, Pinning(Prompt(300, 1), 300, 3600));
  EXPECT_EQ(hit.end.usage.cached_tier, CacheTier::kDisk);
  EXPECT_EQ(hit.end.usage.pinned_tokens, 256);
  for (uint32_t i = 30; i <= 55; ++i) RunToEnd(rig, JobOf(Prompt(300, i)));
  EXPECT_EQ(RunToEnd(rig, JobOf(Prompt(300, 1))).end.usage.cached_tier,
            CacheTier::kHost);
}

}  // namespace
}  // namespace chela
