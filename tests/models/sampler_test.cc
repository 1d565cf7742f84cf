#include "models/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <vector>

#include "tests/models/sampling_reference.h"

namespace chela {
namespace {

using test_support::DrawCounts;
using test_support::ExpectReferenceDistribution;
using test_support::kDraws;
using test_support::RandomLogits;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(Sampler, GreedyTakesTheMostLikelyToken) {
  Sampler sampler({.temperature = 0});
  EXPECT_EQ(sampler.Sample(std::vector<float>{1, 3, 2}, 0).token, 1);
  EXPECT_EQ(sampler.Sample(std::vector<float>{-5, -7, -2, -3}, 1).token, 2);
}

TEST(Sampler, GreedyTiesGoToTheLowerId) {
  Sampler sampler({.temperature = 0});
  EXPECT_EQ(sampler.Sample(std::vector<float>{1, 4, 4, 4}, 0).token, 1);
  EXPECT_EQ(sampler.Sample(std::vector<float>{0.0f, -0.0f}, 0).token, 0);
  EXPECT_EQ(sampler.Sample(std::vector<float>{-0.0f, 0.0f}, 0).token, 0);
}

TEST(Sampler, TopKOfOneIsGreedy) {
  Sampler greedy({.temperature = 0});
  Sampler top1({.top_k = 1, .seed = 5});
  for (uint32_t seed = 0; seed < 50; ++seed) {
    std::vector<float> logits = RandomLogits(100, seed);
    logits[60] = logits[20];
    EXPECT_EQ(top1.Sample(logits, seed).token, greedy.Sample(logits, 0).token);
  }
}

TEST(Sampler, DrawsFromTheSoftmax) {
  ExpectReferenceDistribution({.seed = 1}, RandomLogits(40, 1, 1));
}

TEST(Sampler, TemperatureSharpensAndFlattens) {
  const std::vector<float> logits = RandomLogits(40, 2, 1);
  ExpectReferenceDistribution({.temperature = 0.5, .seed = 2}, logits);
  ExpectReferenceDistribution({.temperature = 3.0, .seed = 3}, logits);
}

TEST(Sampler, TopKDropsAllButTheMostLikely) {
  const std::vector<float> logits = RandomLogits(60, 3, 1);
  for (const int k : {2, 7, 59})
    ExpectReferenceDistribution({.top_k = k}, logits);
}

TEST(Sampler, TopPKeepsTheSmallestNucleus) {
  const std::vector<float> logits = RandomLogits(60, 4, 1);
  for (const double p : {0.05, 0.3, 0.5, 0.9, 0.99}) {
    SCOPED_TRACE(p);
    ExpectReferenceDistribution({.top_p = p, .seed = 4}, logits);
  }
}

TEST(Sampler, RulesApplyInTheDocumentedOrder) {
  ExpectReferenceDistribution(
      {.temperature = 1.7, .top_k = 12, .top_p = 0.6, .seed = 9},
      RandomLogits(60, 5, 1));
}

TEST(Sampler, TopPOfAnExactHalfKeepsExactlyThatHalf) {
  SamplingParams params{.top_p = 0.5};
  const std::vector<int> counts = DrawCounts(params, {0, 0, 0, 0});
  EXPECT_GT(counts[0], 0);
  EXPECT_GT(counts[1], 0);
  EXPECT_EQ(counts[2] + counts[3], 0);  // Ties go to the lower ids.
}

TEST(Sampler, TopPTinyKeepsTheMostLikelyToken) {
  Sampler sampler({.top_p = 1e-300});
  const std::vector<float> logits = RandomLogits(5000, 6);
  const auto best = std::max_element(logits.begin(), logits.end());
  for (int64_t draw = 0; draw < 100; ++draw) {
    EXPECT_EQ(sampler.Sample(logits, draw).token, best - logits.begin());
  }
}

TEST(Sampler, KeepsTheLowerIdsAmongEqualLogits) {
  const std::vector<int> counts =
      DrawCounts({.top_k = 3}, std::vector<float>(10, 2.5f));
  EXPECT_EQ(counts[0] + counts[1] + counts[2], kDraws);
  EXPECT_GT(std::min({counts[0], counts[1], counts[2]}), kDraws / 4);
}

TEST(Sampler, ARuleThatDropsNothingChangesNoDraw) {
  const std::vector<float> logits = RandomLogits(500, 7);
  Sampler plain({.seed = 11});
  Sampler neutral({.top_k = 500, .seed = 11});
  Sampler wide({.top_k = 1'000'000, .top_p = 1.0, .seed = 11});
  for (int64_t draw = 0; draw < 500; ++draw) {
    const int32_t token = plain.Sample(logits, draw).token;
    EXPECT_EQ(neutral.Sample(logits, draw).token, token);
    EXPECT_EQ(wide.Sample(logits, draw).token, token);
  }
}

TEST(Sampler, TheSameSeedGivesTheSameDrawsInAnyOrder) {
  const std::vector<float> logits = RandomLogits(500, 8);
  const std::vector<float> other = RandomLogits(300, 9);
  Sampler forward({.top_p = 0.95, .seed = 21});
  Sampler backward({.top_p = 0.95, .seed = 21});
  std::map<int64_t, int32_t> tokens;
  for (int64_t draw = 0; draw < 200; ++draw) {
    tokens[draw] = forward.Sample(logits, draw).token;
  }
  for (int64_t draw = 199; draw >= 0; --draw) {
    backward.Sample(other, draw);  // What else was sampled does not matter.
    EXPECT_EQ(backward.Sample(logits, draw).token, tokens[draw]);
  }
}

TEST(Sampler, OtherSeedsAndBranchesGiveOtherDraws) {
  const std::vector<float> logits(1000, 0.0f);
  Sampler a({.seed = 1});
  Sampler b({.seed = 2});
  Sampler branch({.seed = 1}, 1);
  int same_seed = 0;
  int same_branch = 0;
  for (int64_t draw = 0; draw < 1000; ++draw) {
    const int32_t token = a.Sample(logits, draw).token;
    same_seed += token == b.Sample(logits, draw).token;
    same_branch += token == branch.Sample(logits, draw).token;
  }
  // 1 is expected by chance; 12 or more has a chance below 1e-8.
  EXPECT_LT(same_seed, 12);
  EXPECT_LT(same_branch, 12);
}

TEST(Sampler, ATemperatureNearZeroIsGreedy) {
  const std::vector<float> logits = RandomLogits(1000, 10);
  const int32_t best = Sampler({.temperature = 0}).Sample(logits, 0).token;
  for (const double temperature : {1e-6, 1e-30, 1e-300, 5e-324}) {
    Sampler sampler({.temperature = temperature});
    for (int64_t draw = 0; draw < 20; ++draw) {
      EXPECT_EQ(sampler.Sample(logits, draw).token, best) << temperature;
    }
  }
}

TEST(Sampler, OneHugeLogitAlwaysWins) {
  std::vector<float> logits = RandomLogits(1000, 11);
  logits[777] = 1e38f;
  for (const double top_p : {0.5, 1.0}) {
    Sampler sampler({.temperature = 100, .top_p = top_p});
    EXPECT_EQ(sampler.Sample(logits, 3).token, 777);
  }
}

TEST(Sampler, ABannedTokenIsNeverDrawn) {
  std::vector<float> logits(8, 0.0f);
  for (const size_t banned : {0u, 3u, 7u}) logits[banned] = -kInf;
  const std::vector<int> counts = DrawCounts({}, logits);
  EXPECT_EQ(counts[0] + counts[3] + counts[7], 0);
  EXPECT_EQ(Sampler({.temperature = 0}).Sample(logits, 0).token, 1);
}

TEST(Sampler, StaysInTheVocabularyWhateverTheLogits) {
  const std::vector<std::vector<float>> kRows = {{kNan, kNan, kNan},
                                                 {-kInf, -kInf},
                                                 {kInf, 1, kInf},
                                                 {kNan, 2, kInf},
                                                 {3.4e38f, -3.4e38f},
                                                 {1e-45f, 0},
                                                 {7}};
  for (const auto& row : kRows) {
    for (const double temperature : {0.0, 1e-300, 1.0, 100.0}) {
      for (const double top_p : {0.1, 1.0}) {
        Sampler sampler({.temperature = temperature,
                         .top_k = 2,
                         .top_p = top_p,
                         .logprobs = 3});
        const SampledToken sampled = sampler.Sample(row, 1);
        EXPECT_GE(sampled.token, 0);
        EXPECT_LT(sampled.token, static_cast<int32_t>(row.size()));
        EXPECT_LE(sampled.top.size(), row.size());
      }
    }
  }
  Sampler sampler({.top_p = 0.9});
  EXPECT_EQ(sampler.Sample(std::vector<float>{kNan, 5, -kInf}, 0).token, 1);
}

TEST(Sampler, AVocabularyOfOneGivesItsToken) {
  EXPECT_EQ(Sampler({.top_p = 0.5}).Sample(std::vector<float>{-3}, 0).token, 0);
}

}  // namespace
}  // namespace chela
