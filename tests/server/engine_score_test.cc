#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <numeric>
#include <vector>

#include "server/engine/engine.h"
#include "tests/server/engine_rig.h"

namespace chela {
namespace {

using test_support::Job;
using test_support::Prompt;
using test_support::Recorder;
using test_support::Rig;
using test_support::ScoreCandidates;
using test_support::Tokens;
using test_support::WaitFor;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// All continuations by hand are one vector each; the engine's are floats. The
// first one is derived from another token's: 4 roundings of doubles below 2^10
// apart from the rounding to float.
void ExpectScores(const std::vector<float>& got,
                  const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], std::abs(want[i]) * 0x1p-24 + 0x1p-40) << i;
  }
}

TEST(EngineScoreTest, ScoresCandidatesAsTheModelDoesByHand) {
  Rig by_hand({.slots = 1}, /*start=*/false);
  std::vector<Tokens> continuations = {
      {7}, {}, {8, 9}, Prompt(5, 3), Prompt(300, 4), Prompt(2, 5)};
  for (const int32_t slots : {1, 2, 4, 40}) {
    Rig rig({.slots = slots});
    for (const int32_t prefix_size : {1, 255, 256, 300}) {
      SCOPED_TRACE(::testing::Message()
                   << slots << " slots, prefix " << prefix_size);
      const Tokens prefix = Prompt(prefix_size, 2);
      const auto end = ScoreCandidates(rig, prefix, continuations);
      ASSERT_TRUE(end.status.ok()) << end.status;
      ASSERT_EQ(end.continuations.size(), continuations.size());
      double sum = 0;
      int64_t tokens = 0;
      for (size_t i = 0; i < continuations.size(); ++i) {
        if (continuations[i].empty()) {
          EXPECT_THAT(end.continuations[i], IsEmpty());
          continue;
        }
        const auto want = by_hand.ScoreByHand(prefix, continuations[i]);
        ExpectScores(end.continuations[i], want);
        sum = std::accumulate(want.begin(), want.end(), sum);
        tokens += static_cast<int64_t>(want.size());
      }
      EXPECT_EQ(end.totals.scored_tokens, tokens);
      EXPECT_EQ(end.totals.tokens, tokens + prefix_size);
      // Added up in another order: each sum rounds 309 times at most.
      EXPECT_NEAR(end.totals.log_probability, sum,
                  2 * 309 * 0x1p-53 * std::abs(sum) + 0x1p-30);
    }
    EXPECT_EQ(rig.engine->Load().slots_free, slots);
  }
}

TEST(EngineScoreTest, LeavesTheFirstTokenUnscoredWithoutAPrefix) {
  Rig by_hand({.slots = 1}, /*start=*/false);
  Rig rig;
  const Tokens text = Prompt(20, 6);
  const auto end = ScoreCandidates(rig, {}, {text, {5}, {}});
  ASSERT_TRUE(end.status.ok()) << end.status;
  std::vector<double> want = by_hand.ScoreByHand({}, text);
  want.insert(want.begin(), 0.0);
  ExpectScores(end.continuations[0], want);
  EXPECT_THAT(end.continuations[1], ElementsAre(0));
  EXPECT_EQ(end.totals.tokens, 21);
  EXPECT_EQ(end.totals.scored_tokens, 19);
}

TEST(EngineScoreTest, ReadsThePrefixOnceWithTwoSlotsAndAgainWithOne) {
  const std::vector<Tokens> continuations = {
      Prompt(10), Prompt(20), {3}, Prompt(30)};
  Rig two({.slots = 2});
  Recorder with_two(*two.backend);
  ScoreCandidates(two, Prompt(100), continuations);
  EXPECT_EQ(with_two.rows(), 100 + 9 + 19 + 29);

  Rig one({.slots = 1});
  Recorder with_one(*one.backend);
  const auto end = ScoreCandidates(one, Prompt(100), continuations);
  EXPECT_EQ(with_one.rows(), 3 * 100 + 9 + 19 + 29);
  EXPECT_EQ(end.totals.tokens, 100 + 10 + 20 + 1 + 30);
  EXPECT_EQ(one.Metric("chela_prompt_tokens_total"), 161);
}

TEST(EngineScoreTest, RunsContinuationsSideBySide) {
  std::vector<Tokens> continuations;
  for (uint32_t i = 0; i < 30; ++i) continuations.push_back(Prompt(9, i));
  // A quarter of 64 slots: 16 lanes, so 30 continuations are two steps.
  Rig rig({.slots = 64});
  Recorder recorder(*rig.backend);
  const auto end = ScoreCandidates(rig, Prompt(20), continuations);
  ASSERT_TRUE(end.status.ok()) << end.status;
  std::vector<size_t> segments;
  for (const auto& step : recorder.steps()) segments.push_back(step.size());
  EXPECT_THAT(segments, ElementsAre(1, 16, 14));
  Rig by_hand({.slots = 1}, /*start=*/false);
  for (const size_t i : {0u, 15u, 16u, 29u}) {
    ExpectScores(end.continuations[i],
                 by_hand.ScoreByHand(Prompt(20), continuations[i]));
  }
}

TEST(EngineScoreTest, PutsNoMoreRowsIntoAStepThanAChunkHas) {
  Rig by_hand({.slots = 1}, /*start=*/false);
  Rig rig({.slots = 40});
  std::vector<Tokens> continuations;
  for (uint32_t i = 0; i < 12; ++i) {
    continuations.push_back(Prompt(1 + 61 * static_cast<int32_t>(i), i));
  }
  Recorder recorder(*rig.backend);
  for (const int32_t prefix : {0, 130}) {
    const Tokens before = prefix == 0 ? Tokens() : Prompt(prefix, 99);
    const auto end = ScoreCandidates(rig, before, continuations);
    ASSERT_TRUE(end.status.ok()) << end.status;
    for (size_t i = 0; i < continuations.size(); ++i) {
      std::vector<double> want = by_hand.ScoreByHand(before, continuations[i]);
      if (prefix == 0) want.insert(want.begin(), 0.0);
      ExpectScores(end.continuations[i], want);
    }
  }
  for (const auto& step : recorder.steps()) {
    int32_t rows = 0;
    for (const Segment& segment : step) {
      rows += segment.rows;
      const int64_t last = segment.position + segment.rows;
      EXPECT_TRUE(segment.position / 256 == (last - 1) / 256)
          << "a chunk goes over a multiple of 256";
    }
    EXPECT_LE(rows, 256);
  }
  EXPECT_EQ(rig.engine->Load().slots_free, 40);
}

TEST(EngineScoreTest, FeedsNothingButThePrefixForSingleTokens) {
  Rig rig({.slots = 1});
  Recorder recorder(*rig.backend);
  const auto end = ScoreCandidates(rig, Prompt(50), {{1}, {2}, {3}});
  EXPECT_EQ(recorder.rows(), 50);
  EXPECT_EQ(end.totals.scored_tokens, 3);
}

TEST(EngineScoreTest, EndsAtOnceWhenThereIsNothingToScore) {
  Rig rig;
  EXPECT_TRUE(ScoreCandidates(rig, {}, {}).status.ok());
  const auto end = ScoreCandidates(rig, {}, {{}, {4}});
  EXPECT_TRUE(end.status.ok());
  EXPECT_EQ(end.totals.scored_tokens, 0);
  EXPECT_EQ(rig.engine->Load().slots_free, 4);
}

TEST(EngineScoreTest, LetsScoresThatNeedTwoSlotsPassOneAfterTheOther) {
  Rig rig({.slots = 2});
  std::deque<std::shared_ptr<ScoreStream>> streams;
  for (int i = 0; i < 4; ++i) {
    streams.push_back(std::make_shared<ScoreStream>(
        Prompt(30), std::vector<Tokens>{Prompt(4), Prompt(5)}));
    ASSERT_TRUE(rig.engine->Submit(Job(streams.back())).ok());
  }
  for (const auto& stream : streams) {
    EXPECT_TRUE(WaitFor(*stream).status.ok());
    EXPECT_EQ(stream->Result()->continuations,
              streams[0]->Result()->continuations);
  }
}

TEST(EngineScoreTest, RefusesCandidatesOutsideTheVocabularyOrTheLimits) {
  Rig rig({.limits = {.max_prompt_tokens = 10}});
  const auto refusal = [&rig](Tokens prefix, std::vector<Tokens> after) {
    return std::string(rig.engine
                           ->Submit(Job(std::make_shared<ScoreStream>(
                               std::move(prefix), std::move(after))))
                           .message());
  };
  EXPECT_EQ(refusal(Prompt(11), {}), "prefix: 11 tokens; want at most 10");
  EXPECT_EQ(refusal({300}, {}), "prefix[0]: token id 300; want 0 to 257");
  EXPECT_EQ(refusal({1}, {{1}, {2, -5}}),
            "continuations[1][1]: token id -5; want 0 to 257");
  EXPECT_THAT(std::string(rig.engine->Submit(ScoreJob()).message()),
              HasSubstr("stream"));
}

}  // namespace
}  // namespace chela
