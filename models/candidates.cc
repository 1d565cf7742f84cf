#include "models/candidates.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "models/logit_passes.h"

namespace chela {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Buffers only grow: shrinking one would have it filled with zeros again.
template <typename T>
void GrowTo(std::vector<T>& buffer, size_t size) {
  if (buffer.size() < size) buffer.resize(size);
}

size_t CountAbove(std::span<const float> values, float cut) {
  return static_cast<size_t>(std::count_if(values.begin(), values.end(),
                                           [cut](float v) { return v > cut; }));
}

// Partly sorts `items`, first by `before`, so that the shortest prefix that
// weighs `target` stands in front; its length, at least 1. O(size), no sort.
template <typename Item, typename Before, typename Weight>
size_t ShortestPrefix(std::span<Item> items, double target, Before before,
                      Weight weight) {
  size_t low = 0;  // the prefix is longer than this
  size_t high = items.size();
  double mass = 0;  // of the first `low`
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    const auto at = [&items](size_t i) {
      return items.begin() + static_cast<std::ptrdiff_t>(i);
    };
    std::nth_element(at(low), at(middle), at(high), before);
    double more = 0;
    for (size_t i = low; i < middle; ++i) more += weight(items[i]);
    if (mass + more >= target) {
      high = middle;
    } else {
      mass += more;
      low = middle;
    }
  }
  return high;
}

}  // namespace

void Candidates::Reset(std::span<const float> logits) {
  assert(!logits.empty());
  whole_ = true;
  row_ = logits;
  max_known_ = false;
  weighed_ = false;
  factor_ = 1;
}

std::span<float> Candidates::Edit() {
  assert(whole_ && !weighed_);
  GrowTo(edited_, row_.size());
  const std::span<float> edited = std::span(edited_).first(row_.size());
  if (row_.data() != edited_.data()) {
    std::copy(row_.begin(), row_.end(), edited.begin());
    row_ = edited;
  }
  max_known_ = false;
  return edited;
}

float Candidates::Max() {
  if (max_known_) return max_;
  max_ = MaxLogit(logits());
  if (max_ == kInfinity) {
    for (float& logit : Edit()) logit = logit > kLargest ? kLargest : logit;
    max_ = kLargest;
  } else if (max_ == -kInfinity) {
    for (float& logit : Edit()) logit = 0;
    max_ = 0;
  }
  max_known_ = true;
  return max_;
}

void Candidates::Weigh() {
  if (weighed_) return;
  const float max = Max();
  GrowTo(weights_, size());
  GrowTo(block_sums_, LogitBlocks(size()));
  total_weight_ =
      ExpWeights(logits(), max, factor_, weights_.data(), block_sums_.data());
  weighed_ = true;
}

void Candidates::Scale(double temperature) {
  // Below 2^-128 the factor is not finite; the largest one differs in nothing
  // that a float exponent could show.
  factor_ = static_cast<float>(std::min(1.0 / temperature, double{kLargest}));
  weighed_ = false;
}

std::span<const int32_t> Candidates::Find(std::span<const float> values,
                                          float cut) {
  GrowTo(indices_, values.size() + 1);
  return std::span(indices_).first(FindAtLeast(values, cut, indices_.data()));
}

void Candidates::Keep(std::span<const int32_t> indices) {
  const std::span<const float> from = logits();
  if (whole_) {
    GrowTo(tokens_, indices.size());
    GrowTo(logits_, indices.size());
  }
  for (size_t i = 0; i < indices.size(); ++i) {
    // Ascending, so nothing still to be read is overwritten.
    const auto index = static_cast<size_t>(indices[i]);
    tokens_[i] = TokenAt(index);
    logits_[i] = from[index];
    if (weighed_) weights_[i] = weights_[index];
  }
  whole_ = false;
  count_ = indices.size();
  if (weighed_) total_weight_ = SumBlocks(weights(), block_sums_.data());
}

void Candidates::KeepAbove(std::span<const float> values, size_t found,
                           float cut, size_t ties) {
  size_t kept = 0;
  for (size_t i = 0; i < found; ++i) {
    const float value = values[static_cast<size_t>(indices_[i])];
    if (value < cut || (value == cut && ties == 0)) continue;
    if (value == cut) --ties;
    indices_[kept++] = indices_[i];
  }
  Keep(std::span(indices_).first(kept));
}

float Candidates::BoundOfMostLikely(size_t count) {
  // `count` blocks have a maximum of at least the count-th largest one, so that
  // many tokens are that likely; few others are.
  for (const size_t block : {kLogitBlock, kLogitBlock / 4}) {
    const size_t blocks = (size() + block - 1) / block;
    if (blocks < count) continue;
    GrowTo(scratch_, blocks);
    BlockMaxima(logits(), block, scratch_.data());
    const auto last = scratch_.begin() + static_cast<std::ptrdiff_t>(count) - 1;
    std::nth_element(scratch_.begin(), last,
                     scratch_.begin() + static_cast<std::ptrdiff_t>(blocks),
                     std::greater<>());
    return *last;
  }
  return -kInfinity;
}

void Candidates::KeepMostLikely(size_t count) {
  assert(count >= 1);
  if (count >= size()) return;
  if (count == 1) {
    Find(logits(), Max());
    Keep(std::span(indices_).first(1));
    return;
  }
  Max();  // Leaves no infinity that could stand in for a bound.
  const size_t found = Find(logits(), BoundOfMostLikely(count)).size();
  if (found <= count) {
    Keep(std::span(indices_).first(found));
    return;
  }
  GrowTo(scratch_, found);
  const std::span<float> values = std::span(scratch_).first(found);
  for (size_t i = 0; i < found; ++i) {
    values[i] = logits()[static_cast<size_t>(indices_[i])];
  }
  const auto last = values.begin() + static_cast<std::ptrdiff_t>(count) - 1;
  std::nth_element(values.begin(), last, values.end(), std::greater<>());
  const float cut = *last;
  const size_t above = CountAbove(values.first(count), cut);
  KeepAbove(logits(), found, cut, count - above);
}

size_t Candidates::FindNucleus(double share, double target) {
  // Tokens lighter than this weigh less than half of 1 - share of the total
  // even together, so the nucleus is among the others. The half keeps the
  // heaviest token, which weighs at least the mean, out of reach of rounding.
  const double light = 0.5 * (1.0 - std::max(share, 0.0)) * total_weight_ /
                       static_cast<double>(size());
  // Usually it is among far fewer, which a pass or two show.
  double cut = std::max(light, (1.0 - share) * total_weight_ / 256);
  while (cut > light &&
         SumAtLeast(weights(), static_cast<float>(cut)) < target) {
    cut = std::max(light, cut / 16);
  }
  return Find(weights(), static_cast<float>(cut)).size();
}

void Candidates::KeepNucleus(double share) {
  Weigh();
  const double target = share * total_weight_;
  const size_t found = FindNucleus(share, target);
  GrowTo(scratch_, found);
  const std::span<float> values = std::span(scratch_).first(found);
  for (size_t i = 0; i < found; ++i) {
    values[i] = weights_[static_cast<size_t>(indices_[i])];
  }
  const size_t nucleus = ShortestPrefix(values, target, std::greater<>(),
                                        [](float weight) { return weight; });
  const float cut = values[nucleus - 1];
  const size_t above = CountAbove(values.first(nucleus), cut);
  KeepAbove(weights(), found, cut, nucleus - above);
}

void Candidates::KeepTypical(double share) {
  Weigh();
  const double log_total = std::log(total_weight_);
  const std::span<const float> from = logits();
  const auto information = [&](size_t i) {
    return log_total - double{from[i] - max_} * factor_;
  };
  double entropy = 0;
  typical_.clear();
  for (size_t i = 0; i < size(); ++i) {
    if (weights_[i] == 0) continue;
    typical_.emplace_back(information(i), static_cast<int32_t>(i));
    entropy += weights_[i] * typical_.back().first;
  }
  entropy /= total_weight_;
  for (auto& [distance, index] : typical_) {
    distance = std::abs(distance - entropy);
  }
  const size_t kept =
      ShortestPrefix(std::span(typical_), share * total_weight_, std::less<>(),
                     [this](const auto& item) {
                       return weights_[static_cast<size_t>(item.second)];
                     });
  GrowTo(indices_, kept);
  for (size_t i = 0; i < kept; ++i) indices_[i] = typical_[i].second;
  const auto end = indices_.begin() + static_cast<std::ptrdiff_t>(kept);
  std::sort(indices_.begin(), end);
  Keep(std::span(indices_).first(kept));
}

void Candidates::KeepHeavierThan(double share) {
  Weigh();
  // Not 1, if a rule dropped the most likely token.
  const float cut = static_cast<float>(share * double{MaxLogit(weights())});
  const size_t found = Find(weights(), cut).size();
  if (found < size()) Keep(std::span(indices_).first(found));
}

int32_t Candidates::Draw(double uniform) {
  if (size() == 1) return TokenAt(0);
  Weigh();
  const double target = uniform * total_weight_;
  double sum = 0;
  size_t block = 0;
  // Ends: the block sums add up, in this order, to total_weight_ > target.
  while (sum + block_sums_[block] <= target) sum += block_sums_[block++];
  const size_t end = std::min((block + 1) * kLogitBlock, size());
  size_t drawn = 0;
  for (size_t i = block * kLogitBlock; i < end; ++i) {
    if (weights_[i] == 0) continue;
    drawn = i;
    sum += weights_[i];
    if (sum > target) break;
    // A block's sum has another order, so that the last token of one may stay
    // a rounding below the target.
  }
  return TokenAt(drawn);
}

}  // namespace chela
