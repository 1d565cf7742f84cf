#include "tests/models/draw_cases.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "kernels/draw_weight.h"

namespace chela::test_support {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// `row`: after the rules that change logits.
class Margins {
 public:
  Margins(const std::vector<float>& row, const DrawRule& rule) {
    const auto size = static_cast<int32_t>(row.size());
    weights_.resize(row.size());
    order_.resize(row.size());
    std::iota(order_.begin(), order_.end(), 0);
    std::vector<float> usable(row);
    for (float& logit : usable) {
      if (std::isnan(logit)) logit = -kInfinity;
      logit = std::min(logit, std::numeric_limits<float>::max());
    }
    const float max = *std::max_element(usable.begin(), usable.end());
    for (size_t i = 0; i < usable.size(); ++i) {
      if (max == -kInfinity) usable[i] = 0;
      weights_[i] =
          max == -kInfinity
              ? 1.0f
              : DrawWeight((usable[i] - max) * rule.inverse_temperature);
    }
    SortBy(usable);
    if (rule.top_k > 0 && rule.top_k < size) order_.resize(rule.top_k);
    SortBy(weights_);
    const double total = Total();
    double sum = 0;
    for (size_t i = 0; rule.top_p < 1 && i < order_.size(); ++i) {
      sum += weights_[order_[i]];
      Near(sum / total, rule.top_p);
      if (sum >= rule.top_p * total) order_.resize(i + 1);
    }
    std::erase_if(order_,
                  [&](int32_t id) { return weights_[id] < rule.min_p; });
    std::sort(order_.begin(), order_.end());
    const double left = Total();
    sum = 0;
    for (const int32_t id : order_)
      Near((sum += weights_[id]) / left, rule.uniform);
  }
  double least() const { return least_; }

 private:
  void SortBy(const std::vector<float>& values) {
    std::sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) {
      return values[a] > values[b] || (values[a] == values[b] && a < b);
    });
  }
  double Total() const {
    double sum = 0;
    for (const int32_t id : order_) sum += weights_[id];
    return sum;
  }
  void Near(double a, double b) { least_ = std::min(least_, std::abs(a - b)); }

  std::vector<float> weights_;
  std::vector<int32_t> order_;
  double least_ = 1;
};

// The rules that change logits, one after the other.
std::vector<float> Changed(std::vector<float> row, const DrawRule& rule,
                           const DrawPlan& plan) {
  for (int32_t i = 0; i < rule.num_biases; ++i) {
    const TokenBias& one = plan.biases[rule.first_bias + i];
    float& logit = row[one.token];
    logit = std::isinf(one.bias) ? -kInfinity : logit + one.bias;
  }
  for (int32_t i = 0; i < rule.num_counts; ++i) {
    const TokenCount& one = plan.counts[rule.first_count + i];
    float& logit = row[one.token];
    const double by = rule.repetition_penalty;
    logit = static_cast<float>(logit > 0 ? logit / by : logit * by);
    if (one.generated == 0) continue;
    logit = static_cast<float>(double{logit} - rule.presence_penalty);
    logit = static_cast<float>(double{logit} -
                               rule.frequency_penalty * one.generated);
  }
  return row;
}

}  // namespace

std::vector<float> RandomRow(int32_t vocab, Random& random) {
  const int32_t kind = random.Below(8);
  const float spread = random.Of({0.1f, 1.0f, 3.0f, 20.0f, 1e30f});
  std::vector<float> row(static_cast<size_t>(vocab));
  for (float& logit : row) {
    logit = spread * random.Normal();
    if (kind == 1 || kind == 2) logit = std::round(random.Normal());
    if (kind == 2 && random.Below(3) == 0) logit = -0.0f;
    if (kind == 3 && random.Below(4) == 0) {
      logit = random.Of({kNan, -kInfinity, kInfinity, -kInfinity});
    }
    if (kind == 4 && random.Below(4) != 0) logit = -kInfinity;
    if (kind == 5) logit = random.Of({-kInfinity, kNan, -kInfinity});
    if (kind == 6) logit = 2.5f;
  }
  if (kind == 7) row[static_cast<size_t>(random.Below(vocab))] = 1e5f;
  return row;
}

SamplingParams RandomParams(int32_t vocab, Random& random) {
  SamplingParams params;
  params.seed = static_cast<uint64_t>(random.Below(1 << 30));
  params.temperature = random.Of({1.0, 1.0, 0.0, 0.3, 1.7, 100.0, 1e-300});
  params.top_k = random.Of({0, 0, 1, 2, 40, 1000, vocab, vocab + 5});
  params.top_p = random.Of({1.0, 1.0, 0.9, 0.5, 0.999, 1e-300});
  params.min_p = random.Of({0.0, 0.0, 0.05, 0.3, 1.0});
  params.repetition_penalty = random.Of({1.0, 1.0, 1.3, 0.7, 100.0, 1e-300});
  params.presence_penalty = random.Of({0.0, 0.0, 0.4, -2.0});
  params.frequency_penalty = random.Of({0.0, 0.0, 0.3, -1.7});
  params.penalty_window = random.Of({0, 0, 7, 300});
  if (random.Below(3) == 0) {
    for (int32_t i = 0; i < std::min(vocab, 50); ++i) {
      params.logit_bias.push_back(
          {i * (vocab / std::min(vocab, 50)), 4 * random.Normal()});
    }
  }
  if (random.Below(3) == 0 && vocab > 4) {
    params.banned_tokens = {random.Below(vocab), 0, 0, random.Below(vocab)};
  }
  params.min_tokens = random.Below(3);
  params.end_tokens = {random.Below(vocab), random.Below(vocab), -1};
  return params;
}

Sampler RandomSampler(const SamplingParams& params, int32_t vocab,
                      Random& random) {
  Sampler sampler(params, static_cast<uint32_t>(random.Below(3)));
  std::vector<int32_t> prompt(static_cast<size_t>(random.Below(600)));
  for (int32_t& token : prompt) token = random.Below(vocab);
  sampler.AddPrompt(prompt);
  for (int32_t i = random.Below(200); i > 0; --i) {
    sampler.AddGenerated(random.Below(std::min(vocab, 100)));
  }
  return sampler;
}

double LeastMargin(std::vector<float> row, int32_t index,
                   const DrawPlan& plan) {
  const DrawRule& rule = plan.rules[static_cast<size_t>(index)];
  return Margins(Changed(std::move(row), rule, plan), rule).least();
}

}  // namespace chela::test_support
