// The contexts of scores in the prefix cache.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/server/prefix_rig.h"

namespace chela {
namespace {

using test_support::JobOf;
using test_support::Prompt;
using test_support::PromptOf;
using test_support::Recorder;
using test_support::Rig;
using test_support::RigOptions;
using test_support::RunToEnd;
using test_support::ScoreCandidates;
using test_support::Tokens;
using test_support::WaitFor;

const std::vector<Tokens> kContinuations = {{1, 2, 3}, {4}, {5, 6, 7, 8}};
// Fed of them: all but each last one.
constexpr int64_t kFed = 5;

class PrefixCacheScoreTest : public ::testing::TestWithParam<int32_t> {
 protected:
  RigOptions Options(int64_t bytes) const {
    return {.slots = GetParam(), .limits = {.prefix_cache_bytes = bytes}};
  }
  Rig plain_{Options(0)};
  Rig rig_{Options(64 << 20)};
};

TEST_P(PrefixCacheScoreTest, AHitGivesTheBitsOfAMiss) {
  for (const int32_t size : {255, 256, 257, 700}) {
    SCOPED_TRACE(size);
    const Tokens prefix = Prompt(size, static_cast<uint32_t>(size));
    const ScoreStream::End want =
        ScoreCandidates(plain_, prefix, kContinuations);
    for (int round = 0; round < 2; ++round) {
      Recorder recorder(*rig_.backend);
      const ScoreStream::End got =
          ScoreCandidates(rig_, prefix, kContinuations);
      ASSERT_TRUE(got.status.ok()) << got.status;
      EXPECT_EQ(got.continuations, want.continuations);
      EXPECT_EQ(got.totals.tokens, want.totals.tokens);
      const int64_t cached = round == 0 ? 0 : (size - 1) / 256 * 256;
      EXPECT_EQ(got.usage.cached_prompt_tokens, cached);
      // In a pool of one slot the context is read again for each continuation
      // that is fed, and then from its own state.
      if (GetParam() > 1) {
        EXPECT_EQ(recorder.rows(), size - cached + kFed);
      }
    }
  }
}

TEST_P(PrefixCacheScoreTest, PromptsAndContextsShareWhereTheyPart) {
  RunToEnd(rig_, JobOf(PromptOf(600, 900, 1)));
  const auto score = [this](uint32_t tail) {
    return ScoreCandidates(rig_, PromptOf(600, 800, tail), kContinuations)
        .usage;
  };
  EXPECT_EQ(score(2).cached_prompt_tokens, 0);
  EXPECT_EQ(score(3).cached_prompt_tokens, 512);
  EXPECT_NE(score(4).cached_tier, CacheTier::kNone);
  EXPECT_EQ(RunToEnd(rig_, JobOf(PromptOf(600, 900, 5))).cached(), 512);
  EXPECT_EQ(rig_.Metric("chela_prefix_cache_hits_total"), 3 * 512);
}

TEST_P(PrefixCacheScoreTest, SaltsShareNothing) {
  const auto cached = [this](const std::string& salt) {
    ScoreJob job;
    job.header.id = "score";
    job.cache_salt = salt;
    job.stream = std::make_shared<ScoreStream>(Prompt(600), kContinuations);
    const auto stream = job.stream;
    EXPECT_TRUE(rig_.engine->Submit(std::move(job)).ok());
    return WaitFor(*stream).usage.cached_prompt_tokens;
  };
  EXPECT_EQ(cached("a"), 0);
  EXPECT_EQ(cached("b"), 0);
  EXPECT_EQ(cached("a"), 512);
  EXPECT_EQ(cached("b"), 512);
}

INSTANTIATE_TEST_SUITE_P(Slots, PrefixCacheScoreTest,
                         ::testing::Values(1, 2, 16));

}  // namespace
}  // namespace chela
