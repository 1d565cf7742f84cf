#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "tests/server/prefix_rig.h"
#include "tests/server/turn_rig.h"
#include "tests/support/tiny_model.h"

namespace chela {
namespace {

using test_support::ExpectSameBits;
using test_support::ExpectSameState;
using test_support::JobOf;
using test_support::kAmpleCache;
using test_support::Listener;
using test_support::PrefixAnswer;
using test_support::Prompt;
using test_support::Rig;
using test_support::RigOptions;
using test_support::RunToEnd;
using test_support::RunTurn;
using test_support::StepGate;
using test_support::TinyConfig;
using test_support::TinyModel;
using test_support::TurnAnswer;

TEST(PrefixCacheSlotsTest, CachedSlotsAreFreeForAdmission) {
  Rig rig({.slots = 4, .limits = {.prefix_cache_bytes = kAmpleCache}});
  for (uint32_t i = 0; i < 6; ++i) RunToEnd(rig, JobOf(Prompt(300, i + 1)));
  EXPECT_EQ(rig.Metric("chela_state_slots", ",state=\"cached\""), 3);
  EXPECT_EQ(rig.Metric("chela_state_slots", ",state=\"free\""), 1);
  EXPECT_EQ(rig.Metric("chela_state_slots", ",state=\"active\""), 0);
  EXPECT_EQ(rig.engine->Load().slots_free, 4);

  // One request takes them all: the states move to the host.
  StepGate gate(*rig.backend);
  GenerateJob wide = JobOf(Prompt(10, 50));
  wide.choices = wide.best_of = 4;
  Listener listener;
  wide.stream = listener.stream();
  ASSERT_TRUE(rig.engine->Submit(wide).ok());
  gate.WaitUntilHeld();
  EXPECT_EQ(rig.engine->Load().slots_free, 0);
  EXPECT_EQ(rig.Metric("chela_state_slots", ",state=\"cached\""), 0);
  EXPECT_EQ(rig.Metric("chela_state_slots", ",state=\"active\""), 4);
  gate.Open();
  EXPECT_EQ(listener.Wait().reason, FinishReason::kLength);

  Rig plain({.slots = 4});
  for (uint32_t i = 0; i < 6; ++i) {
    const GenerateJob job = JobOf(Prompt(300, i + 1));
    const PrefixAnswer got = RunToEnd(rig, job);
    EXPECT_EQ(got.cached(), 256);
    ExpectSameBits(got, RunToEnd(plain, job));
  }
}

TEST(PrefixCacheSlotsTest, ABurstForWhichSlotsAreCachedIsNotRefused) {
  Rig rig({.slots = 4,
           .limits = {.max_waiting = 0, .prefix_cache_bytes = kAmpleCache}});
  for (uint32_t i = 0; i < 4; ++i) RunToEnd(rig, JobOf(Prompt(300, i + 1)));
  std::vector<Listener> listeners(4);
  for (Listener& listener : listeners) {
    GenerateJob job = JobOf(Prompt(20));
    job.stream = listener.stream();
    EXPECT_TRUE(rig.engine->Submit(std::move(job)).ok());
  }
  for (Listener& listener : listeners) {
    EXPECT_EQ(listener.Wait().reason, FinishReason::kLength);
  }
}

TEST(PrefixCacheSlotsTest, ChoicesShareAHit) {
  Rig plain({.slots = 4});
  Rig rig({.slots = 4, .limits = {.prefix_cache_bytes = kAmpleCache}});
  GenerateJob job = JobOf(Prompt(600));
  RunToEnd(rig, job);
  job.choices = job.best_of = 3;
  job.sampling.temperature = 0;  // so that all of them say the same
  const PrefixAnswer got = RunToEnd(rig, job);
  EXPECT_EQ(got.cached(), 512);
  EXPECT_EQ(got.end.usage.generated_tokens, 15);
  ExpectSameBits(got, RunToEnd(plain, job));
}

// A kernel that reaches far back: most of its state is not written by a prompt
// of a few hundred tokens.
std::unique_ptr<Rig> FarReachingRig(const TinyModel& far, int64_t bytes) {
  auto rig = std::make_unique<Rig>(RigOptions{}, /*start=*/false);
  auto weights = Weights::Load(*rig->backend, far.directory());
  rig->model = *ChelaModel::Create(*rig->backend, *std::move(weights), 512);
  rig->pool = *StatePool::Create(*rig->backend, rig->model->config(), 4);
  rig->engine =
      Engine::Start({.prefix_cache_bytes = bytes}, rig->Devices(),
                    *rig->tokenizer, rig->metrics, [](const absl::Status&) {});
  return rig;
}

TEST(PrefixCacheTurnTest, AKeptStateHoldsNothingOfTheSlotsEarlierTexts) {
  ModelConfig config = TinyConfig();
  config.long_conv_kind = LongConvKind::kExplicit;
  config.long_conv_base_length = 0;
  config.long_conv_length = 4096;
  const TinyModel far(config);
  const auto plain = FarReachingRig(far, 0);
  const auto rig = FarReachingRig(far, kAmpleCache);
  GenerateJob wide = JobOf(Prompt(1000, 9));
  wide.choices = wide.best_of = 4;
  RunToEnd(*rig, wide);  // leaves its traces in every slot
  GenerateJob job = JobOf(Prompt(300));
  RunToEnd(*rig, job);
  job.keep_state = true;
  const TurnAnswer hit = RunTurn(*rig, job);
  EXPECT_EQ(hit.end.usage.cached_prompt_tokens, 256);
  ExpectSameState(*hit.state, *RunTurn(*plain, job).state);
}

TEST(PrefixCacheTurnTest, OnlyATextThatBeginsIsLookedUp) {
  Rig plain({.slots = 4});
  Rig rig({.slots = 4, .limits = {.prefix_cache_bytes = kAmpleCache}});
  GenerateJob first = JobOf(Prompt(600));
  RunToEnd(rig, first);
  first.keep_state = true;
  const TurnAnswer began = RunTurn(rig, first);
  EXPECT_EQ(began.end.usage.cached_prompt_tokens, 512);
  const TurnAnswer want = RunTurn(plain, first);
  EXPECT_EQ(began.tokens, want.tokens);
  ExpectSameState(*began.state, *want.state);

  // The same tokens after another text are another prefix.
  GenerateJob second = JobOf(Prompt(600));
  second.keep_state = true;
  second.start = began.state;
  const double queries = rig.Metric("chela_prefix_cache_queries_total");
  const TurnAnswer went_on = RunTurn(rig, second);
  EXPECT_EQ(went_on.end.usage.cached_prompt_tokens, 0);
  EXPECT_EQ(rig.Metric("chela_prefix_cache_queries_total"), queries);
  second.start = want.state;
  ExpectSameState(*went_on.state, *RunTurn(plain, second).state);
}

TEST(PrefixCacheBudgetTest, DropsTheStateUsedLongestAgo) {
  constexpr int64_t kBytes = 80000;
  Rig rig({.slots = 1, .limits = {.prefix_cache_bytes = kBytes}});
  const auto cached = [&rig](uint32_t seed) {
    return RunToEnd(rig, JobOf(Prompt(300, seed))).cached();
  };
  EXPECT_EQ(cached(1), 0);
  uint32_t seed = 1;
  while (rig.Metric("chela_prefix_cache_evictions_total") < 3) {
    ASSERT_LT(seed, 100U);
    EXPECT_EQ(cached(++seed), 0);
    EXPECT_EQ(cached(1), 256);  // a use
    EXPECT_LE(rig.Metric("chela_prefix_cache_bytes"), double{kBytes});
  }
  EXPECT_GT(seed, 5U);
  for (uint32_t kept = 5; kept <= seed; ++kept) EXPECT_EQ(cached(kept), 256);
  for (uint32_t gone = 2; gone <= 4; ++gone) EXPECT_EQ(cached(gone), 0);
}

TEST(PrefixCacheBudgetTest, ABudgetBelowOneStateKeepsNoneOnTheHost) {
  Rig rig({.slots = 1, .limits = {.prefix_cache_bytes = 100}});
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(RunToEnd(rig, JobOf(Prompt(600))).cached(), 0);
  }
  EXPECT_LE(rig.Metric("chela_prefix_cache_bytes"), 100);
}

}  // namespace
}  // namespace chela
