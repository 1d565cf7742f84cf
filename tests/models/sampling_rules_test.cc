#include "models/sampling_rules.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "models/sampler.h"
#include "tests/models/sampling_reference.h"

namespace chela {
namespace {

using test_support::DrawCounts;
using test_support::ExpectReferenceDistribution;
using test_support::kDraws;
using test_support::PastText;
using test_support::RandomLogits;
using test_support::ReferenceDistribution;

const PastText kPast = {.prompt = {1, 2, 2, 3, 9, 20},
                        .generated = {3, 3, 3, 4, 5, 5, 30}};

// The share of its draws that a token gets.
double Share(const SamplingParams& params, const std::vector<float>& logits,
             size_t token, const PastText& past = {}) {
  return DrawCounts(params, logits, past)[token] / double{kDraws};
}

TEST(SamplingRules, EachAloneGivesTheDistributionOfItsDefinition) {
  const std::vector<float> logits = RandomLogits(60, 31, 1.5);
  const std::map<const char*, SamplingParams> cases = {
      {"min_p 0.05", {.min_p = 0.05, .seed = 1}},
      {"min_p 0.5", {.min_p = 0.5, .seed = 2}},
      {"typical_p 0.2", {.typical_p = 0.2, .seed = 3}},
      {"typical_p 0.9", {.typical_p = 0.9, .seed = 4}},
      {"repetition 1.3", {.repetition_penalty = 1.3, .seed = 5}},
      {"repetition 0.7", {.repetition_penalty = 0.7, .seed = 6}},
      {"presence 1.5", {.presence_penalty = 1.5, .seed = 7}},
      {"presence -1", {.presence_penalty = -1, .seed = 8}},
      {"frequency 0.6", {.frequency_penalty = 0.6, .seed = 9}},
      {"frequency -0.4", {.frequency_penalty = -0.4, .seed = 10}},
      {"bias", {.seed = 11, .logit_bias = {{7, 2.5f}, {8, -3.0f}}}},
      {"allowed", {.seed = 12, .allowed_tokens = {40, 3, 17, 3}}},
      {"banned", {.seed = 13, .banned_tokens = {0, 1, 2, 59}}}};
  for (const auto& [name, params] : cases) {
    SCOPED_TRACE(name);
    ExpectReferenceDistribution(params, logits, kPast);
  }
}

TEST(SamplingRules, TogetherApplyInTheDocumentedOrder) {
  SamplingParams all{.temperature = 1.4,
                     .top_k = 30,
                     .top_p = 0.9,
                     .min_p = 0.03,
                     .typical_p = 0.95,
                     .repetition_penalty = 1.2,
                     .presence_penalty = 0.5,
                     .frequency_penalty = 0.3,
                     .penalty_window = 9,
                     .seed = 14,
                     .logit_bias = {{3, 1.5f}, {50, 2.0f}},
                     .banned_tokens = {6, 7}};
  for (uint32_t row = 0; row < 8; ++row) {
    SCOPED_TRACE(row);
    all.seed = row;
    ExpectReferenceDistribution(all, RandomLogits(80, 100 + row, 1.2), kPast);
  }
}

TEST(SamplingRules, KeepsExactlyTheTokensOfTheDefinitionInWideVocabularies) {
  // Whole blocks and a rest, so that the passes' ends are met.
  for (const int vocab : {63, 64, 65, 1000, 4099}) {
    const std::vector<float> logits = RandomLogits(vocab, 32, 2);
    for (SamplingParams params :
         {SamplingParams{.top_k = 5}, SamplingParams{.top_k = 50},
          SamplingParams{.top_p = 0.3}, SamplingParams{.min_p = 0.3},
          SamplingParams{.typical_p = 0.2}}) {
      const std::vector<double> want = ReferenceDistribution(params, logits);
      const std::vector<int> counts = DrawCounts(params, logits);
      for (size_t i = 0; i < want.size(); ++i) {
        if (want[i] == 0) {
          EXPECT_EQ(counts[i], 0) << i;
        }
        // None seen of 25 expected: once in e^25.
        if (want[i] * kDraws > 25) {
          EXPECT_GT(counts[i], 0) << i;
        }
      }
    }
  }
}

TEST(SamplingRules, NeutralValuesChangeNoDraw) {
  const std::vector<float> logits = RandomLogits(5000, 33);
  Sampler plain({.seed = 3});
  Sampler neutral({.temperature = 1,
                   .top_k = 0,
                   .top_p = 1,
                   .min_p = 0,
                   .typical_p = 1,
                   .repetition_penalty = 1,
                   .presence_penalty = 0,
                   .frequency_penalty = 0,
                   .penalty_window = 7,
                   .seed = 3,
                   .min_tokens = 0,
                   .end_tokens = {1}});
  for (int64_t draw = 0; draw < 300; ++draw) {
    const int32_t token = plain.Sample(logits, draw).token;
    EXPECT_EQ(neutral.Sample(logits, draw).token, token);
    neutral.AddGenerated(token);
  }
}

TEST(SamplingRules, MinPOfOneKeepsTheMostLikelyAlone) {
  const std::vector<float> logits = RandomLogits(3000, 34);
  Sampler greedy({.temperature = 0});
  Sampler sampler({.min_p = 1, .seed = 8});
  for (int64_t draw = 0; draw < 100; ++draw) {
    EXPECT_EQ(sampler.Sample(logits, draw).token,
              greedy.Sample(logits, draw).token);
  }
}

TEST(SamplingRules, TypicalPTinyKeepsTheMostTypicalAlone) {
  // Entropy ln 4 + ...: the token of probability 1/2 has less information than
  // average, those of 1/128 more; that of 1/4 is nearest.
  std::vector<float> logits = {std::log(0.5f), std::log(0.25f)};
  for (int i = 0; i < 32; ++i) logits.push_back(std::log(0.25f / 32));
  Sampler sampler({.typical_p = 1e-12, .seed = 1});
  for (int64_t draw = 0; draw < 50; ++draw) {
    EXPECT_EQ(sampler.Sample(logits, draw).token, 1);
  }
}

TEST(SamplingRules, PenaltiesAreMonotone) {
  const std::vector<float> logits = RandomLogits(30, 35, 1);
  const PastText past = {.prompt = {4}, .generated = {5, 5, 6}};
  const auto falls =
      [&](const std::function<void(SamplingParams&, double)>& set,
          const std::vector<double>& values, size_t token) {
        double before = 1;
        for (const double value : values) {
          SamplingParams params{.seed = 77};
          set(params, value);
          const double share = Share(params, logits, token, past);
          EXPECT_LT(share, before) << value;
          before = share;
        }
      };
  const std::vector<double> kFactors = {0.3, 0.6, 1.0, 1.8, 4.0};
  const std::vector<double> kTerms = {-2, -0.8, 0, 0.8, 2};
  for (const size_t token : {4u, 5u}) {
    falls([](SamplingParams& p, double v) { p.repetition_penalty = v; },
          kFactors, token);
  }
  for (const size_t token : {5u, 6u}) {
    falls([](SamplingParams& p, double v) { p.presence_penalty = v; }, kTerms,
          token);
    falls([](SamplingParams& p, double v) { p.frequency_penalty = v; }, kTerms,
          token);
  }
}

TEST(SamplingRules, PresenceAndFrequencyLeaveThePromptAlone) {
  const std::vector<float> logits(10, 0.0f);
  const PastText past = {.prompt = {4, 4, 4}, .generated = {}};
  for (const SamplingParams& params :
       {SamplingParams{.presence_penalty = 2, .seed = 5},
        SamplingParams{.frequency_penalty = 2, .seed = 5}}) {
    EXPECT_EQ(DrawCounts(params, logits, past),
              DrawCounts({.seed = 5}, logits));
  }
}

TEST(SamplingRules, AWindowForgetsWhatLiesFurtherBack) {
  const std::vector<float> logits = RandomLogits(40, 36, 1);
  for (const int window : {1, 2, 5, 13, 14}) {
    SCOPED_TRACE(window);
    ExpectReferenceDistribution({.repetition_penalty = 3,
                                 .presence_penalty = 0.7,
                                 .penalty_window = window,
                                 .seed = 3},
                                logits, kPast);
  }
}

TEST(SamplingRules, ABanHoldsAgainstEverything) {
  std::vector<float> logits = RandomLogits(100, 37);
  logits[42] = 1e30f;
  const SamplingParams params{.temperature = 0,
                              .repetition_penalty = 0.01,
                              .presence_penalty = -2,
                              .logit_bias = {{42, 100.0f}},
                              .banned_tokens = {42}};
  EXPECT_NE(Sampler(params).Sample(logits, 0).token, 42);
  const std::vector<float> nothing_else(
      8, -std::numeric_limits<float>::infinity());
  std::vector<float> row = nothing_else;
  row[3] = -5;
  for (const double temperature : {0.0, 1.0}) {
    Sampler sampler({.temperature = temperature, .banned_tokens = {0, 1}});
    EXPECT_EQ(sampler.Sample(row, 0).token, 3);
  }
}

TEST(SamplingRules, ABiasOfMinus100BansAndOf100Forces) {
  // Of ordinary logits, as OpenAI says of its own.
  const std::vector<float> logits = RandomLogits(50, 38, 4);
  const std::vector<int> banned =
      DrawCounts({.seed = 1, .logit_bias = {{7, -100.0f}}}, logits);
  EXPECT_EQ(banned[7], 0);
  const std::vector<int> forced =
      DrawCounts({.seed = 1, .logit_bias = {{7, 100.0f}}}, logits);
  EXPECT_EQ(forced[7], kDraws);
}

TEST(SamplingRules, OnlyAllowedTokensAreDrawnWhateverTheirLogits) {
  std::vector<float> logits(300, 50.0f);
  logits[5] = -50;
  logits[299] = std::numeric_limits<float>::quiet_NaN();
  Sampler sampler({.allowed_tokens = {299, 5}});
  for (int64_t draw = 0; draw < 20; ++draw) {
    EXPECT_EQ(sampler.Sample(logits, draw).token, 5);
  }
}

TEST(SamplingRules, MinTokensKeepsTheEndAwayForSoManyDraws) {
  std::vector<float> logits(20, 0.0f);
  logits[9] = 30;
  logits[10] = 29;
  Sampler sampler({.min_tokens = 3, .end_tokens = {9}});
  for (int64_t draw = 0; draw < 3; ++draw) {
    EXPECT_EQ(sampler.Sample(logits, draw).token, 10);
  }
  std::set<int32_t> after;
  for (int64_t draw = 3; draw < 60; ++draw) {
    after.insert(sampler.Sample(logits, draw).token);
  }
  EXPECT_TRUE(after.count(9) == 1);
}

TEST(SamplingRules, ABranchHasTheHistoryOfItsOriginalAndThenItsOwn) {
  const std::vector<float> logits(6, 0.0f);
  Sampler first({.temperature = 0, .presence_penalty = 1});
  first.AddGenerated(0);
  Sampler second(first, 1);
  first.AddGenerated(1);
  EXPECT_EQ(first.Sample(logits, 0).token, 2);
  EXPECT_EQ(second.Sample(logits, 0).token, 1);
}

// Samplers of one thread share the memory of a draw.
TEST(SamplingRules, TheThreadsEarlierDrawsChangeNothing) {
  const std::vector<SamplingParams> kParams = {
      {.top_p = 0.9, .seed = 1},
      {.temperature = 0},
      {.top_k = 9, .seed = 2},
      {.seed = 3, .banned_tokens = {3}}};
  std::vector<Sampler> samplers;
  for (const SamplingParams& params : kParams) samplers.emplace_back(params);
  for (int64_t draw = 0; draw < 100; ++draw) {
    for (size_t i = 0; i < samplers.size(); ++i) {
      const std::vector<float> logits =
          RandomLogits(i % 2 == 0 ? 700 : 300, static_cast<uint32_t>(draw));
      int32_t fresh = -1;
      std::thread([&] {
        fresh = Sampler(kParams[i]).Sample(logits, draw).token;
      }).join();
      EXPECT_EQ(samplers[i].Sample(logits, draw).token, fresh);
    }
  }
}

}  // namespace
}  // namespace chela
