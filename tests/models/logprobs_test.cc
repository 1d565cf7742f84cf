#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "models/sampler.h"
#include "tests/models/sampling_reference.h"

namespace chela {
namespace {

using test_support::RandomLogits;

TEST(Logprobs, LogprobsAreOfTheRawDistribution) {
  const std::vector<float> logits = {1, 3, 2, 3};
  Sampler sampler({.temperature = 0, .top_k = 2, .logprobs = 3});
  const SampledToken sampled = sampler.Sample(logits, 0);
  const double log_sum =
      std::log(std::exp(1.0) + 2 * std::exp(3.0) + std::exp(2.0));
  ASSERT_EQ(sampled.top.size(), 3u);
  EXPECT_EQ(sampled.top[0].token, 1);
  EXPECT_EQ(sampled.top[1].token, 3);
  EXPECT_EQ(sampled.top[2].token, 2);
  // One float32 rounding of a value below 4, and the exponentials'.
  EXPECT_NEAR(sampled.top[2].logprob, 2 - log_sum, 0x1p-21);
  EXPECT_NEAR(sampled.logprob, 3 - log_sum, 0x1p-21);
}

TEST(Logprobs, ReportsNoMoreLogprobsThanAsked) {
  const std::vector<float> logits = RandomLogits(100, 12);
  Sampler none({});
  EXPECT_TRUE(none.Sample(logits, 0).top.empty());
  EXPECT_EQ(none.Sample(logits, 0).logprob, 0);
  Sampler chosen({.logprobs = 0});
  EXPECT_TRUE(chosen.Sample(logits, 0).top.empty());
  EXPECT_LT(chosen.Sample(logits, 0).logprob, 0);
  Sampler many({.logprobs = 1000});
  EXPECT_EQ(many.Sample(logits, 0).top.size(), size_t{kMaxLogprobs});
}

TEST(Logprobs, TopLogprobsAreTheMostLikelyInOrder) {
  const std::vector<float> logits = RandomLogits(3000, 13);
  std::vector<float> sorted = logits;
  std::sort(sorted.rbegin(), sorted.rend());
  Sampler sampler({.logprobs = kMaxLogprobs});
  const SampledToken sampled = sampler.Sample(logits, 0);
  for (size_t i = 0; i < sampled.top.size(); ++i) {
    const int32_t token = sampled.top[i].token;
    EXPECT_EQ(logits[static_cast<size_t>(token)], sorted[i]);
    EXPECT_EQ(sampled.top[i].logprob,
              static_cast<float>(LogProbability(logits, token)));
  }
}

TEST(LogProbability, MatchesTheLogSoftmaxInDouble) {
  for (const float spread : {0.1f, 3.0f, 30.0f}) {
    const std::vector<float> logits = RandomLogits(2000, 14, spread);
    double sum = 0;
    for (const float logit : logits) sum += std::exp(double{logit});
    for (const int32_t token : {0, 999, 1999}) {
      const double want = logits[static_cast<size_t>(token)] - std::log(sum);
      // The shift by the maximum rounds an exponent by up to 2^-24 of it; only
      // exponents above -16 weigh, so the sum is off by at most 2^-20 of it.
      EXPECT_NEAR(LogProbability(logits, token), want, 0x1p-20);
    }
  }
}

TEST(LogProbability, DoesNotOverflow) {
  EXPECT_NEAR(LogProbability(std::vector<float>{1e30f, 1e30f}, 0),
              -std::log(2.0), 0x1p-22);
  EXPECT_EQ(LogProbability(std::vector<float>{-1e30f}, 0), 0);
}

TEST(LogProbability, ProbabilitiesSumToOne) {
  const std::vector<float> logits = RandomLogits(500, 15);
  double sum = 0;
  for (int32_t i = 0; i < 500; ++i) sum += std::exp(LogProbability(logits, i));
  EXPECT_NEAR(sum, 1.0, 0x1p-21);
}

}  // namespace
}  // namespace chela
