#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "tests/server/engine_rig.h"
#include "tests/server/fake_prefix_store.h"

namespace chela {
namespace {

using test_support::FakePrefixStore;
using test_support::Job;
using test_support::kFileBytes;
using test_support::Listener;
using test_support::Prompt;
using test_support::Rig;
using test_support::RigOptions;
using test_support::Tokens;

// Prompts that share and part at many places.
Tokens ChurnPrompt(uint32_t kind) {
  Tokens tokens = Prompt(static_cast<int32_t>(200 + 150 * (kind % 5)), 1);
  const Tokens middle = Prompt(300, 2 + kind % 3);
  tokens.insert(tokens.end(), middle.begin() + 1, middle.end());
  tokens.push_back(static_cast<int32_t>(kind));
  return tokens;
}

constexpr uint32_t kChurnPrompts = 15;

GenerateJob ChurnJob(const Listener& listener, uint32_t kind) {
  GenerateJob job = Job(listener, 1, 6, kind);
  job.prompt = ChurnPrompt(kind);
  job.cache_salt = kind % 4 == 0 ? "salt" : "";
  if (kind % 3 == 0) job.cache_at = {300, 400};
  if (kind % 6 == 0) job.cache_pin = std::chrono::seconds(kind % 4);
  return job;
}

struct Churn {
  LongConvKind kind;
  bool store;  // for six states, of which every third is lost
};

// A budget for a few states, so that nearly every request drops one that
// another may just want, while slots are given up and taken, and a third of the
// requests is cancelled somewhere on the way.
class PrefixCacheChurnTest : public ::testing::TestWithParam<Churn> {
 protected:
  // What each prompt gives without a cache. Returns a state's size.
  int64_t AskWithoutACache(const RigOptions& options) {
    Rig plain(options);
    for (uint32_t kind = 0; kind < kChurnPrompts; ++kind) {
      Listener listener;
      EXPECT_TRUE(plain.engine->Submit(ChurnJob(listener, kind)).ok());
      EXPECT_EQ(listener.Wait().reason, FinishReason::kLength);
      want_[kind] = listener.tokens();
    }
    return plain.pool->slot_bytes();
  }

  // Three prompts at once, of which the first is cancelled on the way.
  void AskForThree(Engine& engine, std::mt19937& random, bool some_tokens) {
    std::deque<std::pair<uint32_t, Listener>> batch;
    for (int i = 0; i < 3; ++i) {
      auto& [kind, listener] = batch.emplace_back();
      kind = static_cast<uint32_t>(random() % kChurnPrompts);
      ASSERT_TRUE(engine.Submit(ChurnJob(listener, kind)).ok());
    }
    if (some_tokens) batch[0].second.WaitForTokens(random() % 3);
    batch[0].second.stream()->Cancel();
    for (auto& [kind, listener] : batch) {
      const GenerationEnd end = listener.Wait();
      const Tokens tokens = listener.tokens();
      const Tokens& want = want_.at(kind);
      if (end.reason == FinishReason::kCancelled) {
        ASSERT_LE(tokens.size(), want.size());
        ASSERT_TRUE(std::equal(tokens.begin(), tokens.end(), want.begin()));
        continue;
      }
      ASSERT_EQ(end.reason, FinishReason::kLength);
      ASSERT_EQ(tokens, want) << kind;
    }
  }

 private:
  std::map<uint32_t, Tokens> want_;
};

TEST_P(PrefixCacheChurnTest, EveryAnswerIsThatOfAnEngineWithoutACache) {
  RigOptions options{
      .slots = 6, .kind = GetParam().kind, .large_states = GetParam().store};
  const int64_t slot_bytes = AskWithoutACache(options);
  // The tiny hierarchical states are no larger than some prompts' tokens.
  options.limits.prefix_cache_bytes =
      std::max<int64_t>(2 * slot_bytes + slot_bytes / 2, 40000);
  FakePrefixStore store;
  if (GetParam().store) {
    store.LoseEveryThird();
    options.prefix_store = &store;
    options.limits.prefix_store_bytes = 6 * kFileBytes;
    // For the tokens of all prompts.
    options.limits.prefix_cache_bytes = 9 * slot_bytes;
  }
  Rig rig(options);
  std::vector<std::thread> clients;
  for (uint32_t client = 0; client < 4; ++client) {
    clients.emplace_back([&, client] {
      std::mt19937 random(client);
      for (int round = 0; round < 25 && !HasFatalFailure(); ++round) {
        AskForThree(*rig.engine, random, round % 2 == 0);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_GT(rig.Metric("chela_prefix_cache_hits_total"), 0);
  EXPECT_GT(rig.Metric("chela_prefix_cache_evictions_total"), 20);
  if (GetParam().store) {
    EXPECT_GT(store.reads(), 20);
    EXPECT_EQ(store.most(), 6);
    EXPECT_GT(
        rig.Metric("chela_prefix_cache_tier_hits_total", ",tier=\"disk\""), 0);
  }
  EXPECT_LE(rig.Metric("chela_prefix_cache_bytes"),
            static_cast<double>(options.limits.prefix_cache_bytes));
  EXPECT_TRUE(test_support::Eventually(
      [&] { return rig.engine->Load().slots_free == 6; }));
}

INSTANTIATE_TEST_SUITE_P(
    EveryKernel, PrefixCacheChurnTest,
    ::testing::Values(Churn{LongConvKind::kHierarchical, false},
                      Churn{LongConvKind::kExplicit, false},
                      Churn{LongConvKind::kHierarchical, true},
                      Churn{LongConvKind::kExplicit, true}),
    [](const auto& test) {
      return std::string(test.param.kind == LongConvKind::kExplicit
                             ? "Explicit"
                             : "Hierarchical") +
             (test.param.store ? "WithAStore" : "");
    });

}  // namespace
}  // namespace chela
