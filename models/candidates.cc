#include "models/candidates.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

namespace chela {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max();

double Sum(std::span<const float> values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

size_t CountAbove(std::span<const float> values, float cut) {
  return static_cast<size_t>(std::count_if(values.begin(), values.end(),
                                           [cut](float v) { return v > cut; }));
}

}  // namespace

void Candidates::Reset(std::span<const float> logits) {
  assert(!logits.empty());
  if (tokens_.size() != logits.size()) {
    tokens_.resize(logits.size());
    std::iota(tokens_.begin(), tokens_.end(), 0);
  } else if (tokens_.back() + 1 != static_cast<int32_t>(logits.size())) {
    std::iota(tokens_.begin(), tokens_.end(), 0);
  }
  logits_.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    // Both comparisons are false for a NaN.
    const float low = logits[i] > -kLargest ? logits[i] : -kLargest;
    logits_[i] = low < kLargest ? low : kLargest;
  }
  weighed_ = false;
}

float Candidates::max_logit() const {
  float max = logits_[0];
  for (const float logit : logits_) max = logit > max ? logit : max;
  return max;
}

std::span<const float> Candidates::Weights() {
  if (weighed_) return weights_;
  const float max = max_logit();
  weights_.resize(size());
  total_weight_ = 0;
  for (size_t i = 0; i < size(); ++i) {
    weights_[i] = std::exp(logits_[i] - max);
    total_weight_ += weights_[i];
  }
  weighed_ = true;
  return weights_;
}

double Candidates::TotalWeight() {
  Weights();
  return total_weight_;
}

void Candidates::Scale(double temperature) {
  const float max = max_logit();
  // 1 / temperature overflows below 2^-1024; an infinite factor would turn the
  // maximum's 0 into a NaN.
  const double factor =
      std::min(1.0 / temperature, std::numeric_limits<double>::max());
  for (float& logit : logits_) {
    logit = static_cast<float>(static_cast<double>(logit - max) * factor);
  }
  weighed_ = false;
}

void Candidates::KeepMostLikely(size_t count) {
  assert(count >= 1);
  if (count >= size()) return;
  if (count == 1) {
    Keep(logits_, max_logit(), 1);
    return;
  }
  scratch_ = logits_;
  const auto last = scratch_.begin() + static_cast<std::ptrdiff_t>(count) - 1;
  std::nth_element(scratch_.begin(), last, scratch_.end(), std::greater<>());
  const float cut = *last;
  Keep(logits_, cut, count - CountAbove({scratch_.data(), count}, cut));
}

void Candidates::KeepNucleus(double share) {
  const std::span<const float> weights = Weights();
  const double target = share * total_weight_;
  // Tokens lighter than this weigh less than half of 1 - share of the total
  // even together, so the nucleus is among the others: usually few. The half
  // keeps the heaviest token, which weighs at least the mean, out of reach of
  // rounding.
  const double light = 0.5 * (1.0 - std::max(share, 0.0)) * total_weight_ /
                       static_cast<double>(size());
  scratch_.clear();
  for (const float weight : weights) {
    if (weight >= light) scratch_.push_back(weight);
  }
  // The nucleus is the first n of `scratch_` in descending order, low < n <=
  // high; `mass` is the weight of the first `low`. Halving costs O(size()).
  size_t low = 0;
  size_t high = scratch_.size();
  double mass = 0;
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    const auto at = [this](size_t i) {
      return scratch_.begin() + static_cast<std::ptrdiff_t>(i);
    };
    std::nth_element(at(low), at(middle), at(high), std::greater<>());
    const double more = Sum({scratch_.data() + low, middle - low});
    if (mass + more >= target) {
      high = middle;
    } else {
      mass += more;
      low = middle;
    }
  }
  const float cut = scratch_[low];
  Keep(weights, cut, high - CountAbove({scratch_.data(), high}, cut));
}

void Candidates::Keep(std::span<const float> values, float cut, size_t ties) {
  size_t kept = 0;
  double total = 0;
  for (size_t i = 0; i < size(); ++i) {
    const float value = values[i];
    if (value < cut || (value == cut && ties == 0)) continue;
    if (value == cut) --ties;
    // kept <= i, so no value still to be read is overwritten.
    tokens_[kept] = tokens_[i];
    logits_[kept] = logits_[i];
    if (weighed_) {
      weights_[kept] = weights_[i];
      total += weights_[i];
    }
    ++kept;
  }
  tokens_.resize(kept);
  logits_.resize(kept);
  if (weighed_) weights_.resize(kept);
  total_weight_ = total;
}

int32_t Candidates::Draw(double uniform) {
  if (size() == 1) return tokens_[0];
  const std::span<const float> weights = Weights();
  const double target = uniform * total_weight_;
  double sum = 0;
  for (size_t i = 0; i < size(); ++i) {
    sum += weights[i];
    if (sum > target) return tokens_[i];
  }
  // Not reached: the sum adds up to total_weight_ > target in the same order.
  return tokens_.back();
}

}  // namespace chela
