#include "tests/models/sampling_reference.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <random>

namespace chela::test_support {
namespace {

constexpr double kBanned = -std::numeric_limits<double>::infinity();

bool Holds(const std::vector<int32_t>& tokens, size_t token) {
  return std::find(tokens.begin(), tokens.end(), static_cast<int32_t>(token)) !=
         tokens.end();
}

// Counts in the last `window` tokens of the past, apart for both parts.
struct Counts {
  std::map<size_t, int> any;
  std::map<size_t, int> generated;
};
Counts CountPast(const PastText& past, int32_t window) {
  std::vector<int32_t> all = past.prompt;
  all.insert(all.end(), past.generated.begin(), past.generated.end());
  size_t first = 0;
  if (window > 0 && all.size() > static_cast<size_t>(window)) {
    first = all.size() - static_cast<size_t>(window);
  }
  Counts counts;
  for (size_t i = first; i < all.size(); ++i) {
    const auto token = static_cast<size_t>(all[i]);
    ++counts.any[token];
    if (i >= past.prompt.size()) ++counts.generated[token];
  }
  return counts;
}

std::vector<double> ShapedLogits(const SamplingParams& params,
                                 const std::vector<float>& logits,
                                 const PastText& past, int64_t draw) {
  std::vector<double> shaped(logits.begin(), logits.end());
  for (size_t i = 0; i < shaped.size(); ++i) {
    const bool allowed =
        params.allowed_tokens.empty() || Holds(params.allowed_tokens, i);
    const bool too_early =
        draw < params.min_tokens && Holds(params.end_tokens, i);
    if (!allowed || too_early || Holds(params.banned_tokens, i)) {
      shaped[i] = kBanned;
    }
  }
  for (const TokenBias& one : params.logit_bias) {
    shaped[static_cast<size_t>(one.token)] += one.bias;
  }
  const Counts counts = CountPast(past, params.penalty_window);
  for (const auto& [token, count] : counts.any) {
    double& logit = shaped[token];
    logit = logit > 0 ? logit / params.repetition_penalty
                      : logit * params.repetition_penalty;
  }
  for (const auto& [token, count] : counts.generated) {
    shaped[token] -= params.presence_penalty + params.frequency_penalty * count;
  }
  return shaped;
}

void Normalise(std::vector<double>& weights) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& weight : weights) weight /= total;
}

// Zeroes all but the first of `order` that hold at least `share`.
void KeepShare(const std::vector<size_t>& order, double share,
               std::vector<double>& weights) {
  double mass = 0;
  for (const size_t token : order) {
    const double weight = weights[token];
    if (mass >= share) weights[token] = 0;
    mass += weight;
  }
  Normalise(weights);
}

std::vector<size_t> OrderBy(size_t size,
                            const std::function<double(size_t)>& key) {
  std::vector<size_t> order(size);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return key(a) < key(b); });
  return order;
}

void KeepTypical(double share, std::vector<double>& weights) {
  double entropy = 0;
  for (const double p : weights) entropy -= p > 0 ? p * std::log(p) : 0;
  KeepShare(OrderBy(weights.size(),
                    [&](size_t i) {
                      return std::abs(-std::log(weights[i]) - entropy);
                    }),
            share, weights);
}

}  // namespace

std::vector<float> RandomLogits(int vocab, uint32_t seed, float spread) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(static_cast<size_t>(vocab));
  for (float& logit : logits) logit = normal(random);
  return logits;
}

std::vector<double> ReferenceDistribution(const SamplingParams& params,
                                          const std::vector<float>& logits,
                                          const PastText& past, int64_t draw) {
  const std::vector<double> shaped = ShapedLogits(params, logits, past, draw);
  const std::vector<size_t> order =
      OrderBy(shaped.size(), [&](size_t i) { return -shaped[i]; });
  std::vector<double> weights(shaped.size(), 0.0);
  if (params.temperature == 0) {
    weights[order[0]] = 1;
    return weights;
  }
  for (size_t i = 0; i < shaped.size(); ++i) {
    weights[i] = std::exp((shaped[i] - shaped[order[0]]) / params.temperature);
  }
  if (params.top_k > 0) {
    for (size_t i = static_cast<size_t>(params.top_k); i < order.size(); ++i) {
      weights[order[i]] = 0;
    }
  }
  Normalise(weights);
  if (params.typical_p < 1) KeepTypical(params.typical_p, weights);
  if (params.top_p < 1) {
    KeepShare(OrderBy(weights.size(), [&](size_t i) { return -weights[i]; }),
              params.top_p, weights);
  }
  const double least =
      params.min_p * *std::max_element(weights.begin(), weights.end());
  for (double& weight : weights) weight = weight < least ? 0 : weight;
  Normalise(weights);
  return weights;
}

std::vector<int> DrawCounts(const SamplingParams& params,
                            const std::vector<float>& logits,
                            const PastText& past) {
  Sampler sampler(params);
  sampler.AddPrompt(past.prompt);
  for (const int32_t token : past.generated) sampler.AddGenerated(token);
  std::vector<int> counts(logits.size(), 0);
  for (int64_t draw = 0; draw < kDraws; ++draw) {
    ++counts[static_cast<size_t>(sampler.Sample(logits, draw).token)];
  }
  return counts;
}

void ExpectReferenceDistribution(const SamplingParams& params,
                                 const std::vector<float>& logits,
                                 const PastText& past) {
  const std::vector<double> want =
      ReferenceDistribution(params, logits, past, kDraws);
  const std::vector<int> counts = DrawCounts(params, logits, past);
  double chi_square = 0;
  int cells = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    if (want[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i << " was dropped";
      continue;
    }
    const double expected = want[i] * kDraws;
    if (expected < 10) continue;  // Too few for the approximation.
    chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
    ++cells;
  }
  EXPECT_LT(chi_square, cells + 8 * std::sqrt(2.0 * cells));
}

}  // namespace chela::test_support
