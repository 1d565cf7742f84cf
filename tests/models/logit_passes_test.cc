#include "models/logit_passes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "tests/models/sampling_reference.h"

namespace chela {
namespace {

using test_support::RandomLogits;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Around every place where a pass changes its stride.
std::vector<int> Sizes() {
  std::vector<int> sizes(131);
  std::iota(sizes.begin(), sizes.end(), 1);
  sizes.insert(sizes.end(), {1000, 4096, 4097, 32768});
  return sizes;
}

// Everything that one set of passes says about a row.
std::vector<double> AllOf(const LogitPasses& passes,
                          const std::vector<float>& row) {
  const size_t size = row.size();
  std::vector<double> all = {passes.max(row.data(), size)};
  std::vector<float> maxima(LogitBlocks(size), kNan);
  passes.block_maxima(row.data(), size, kLogitBlock, maxima.data());
  all.insert(all.end(), maxima.begin(), maxima.end());
  std::vector<float> weights(size, kNan);
  std::vector<double> sums(LogitBlocks(size), kNan);
  all.push_back(passes.exp_weights(row.data(), size, static_cast<float>(all[0]),
                                   0.7f, weights.data(), sums.data()));
  all.insert(all.end(), weights.begin(), weights.end());
  all.insert(all.end(), sums.begin(), sums.end());
  all.push_back(passes.sum_blocks(weights.data(), size, sums.data()));
  all.insert(all.end(), sums.begin(), sums.end());
  all.push_back(passes.sum_at_least(weights.data(), size, 0.01f));
  std::vector<int32_t> indices(size + 1, -1);
  const size_t found =
      passes.find_at_least(weights.data(), size, 0.01f, indices.data());
  all.insert(all.end(), indices.begin(), indices.begin() + found);
  return all;
}

TEST(LogitPasses, GiveTheSameBitsOnEveryInstructionSet) {
  const std::vector<LogitPasses> sets = UsableLogitPasses();
  for (const int size : Sizes()) {
    const std::vector<float> row = RandomLogits(size, 40, 6);
    const std::vector<double> want = AllOf(sets[0], row);
    for (const LogitPasses& set : sets) {
      EXPECT_TRUE(AllOf(set, row) == want) << set.name << ", " << size;
    }
  }
}

TEST(LogitPasses, FindTheMaximumWhereverItStands) {
  for (const int size : Sizes()) {
    std::vector<float> row(static_cast<size_t>(size), -2.0f);
    for (size_t at = 0; at < row.size(); at += 1 + row.size() / 40) {
      row[at] = 5;
      EXPECT_EQ(MaxLogit(row), 5);
      row[at] = -2;
    }
  }
  EXPECT_EQ(MaxLogit(std::vector<float>{kNan, -3, kNan}), -3);
  EXPECT_EQ(MaxLogit(std::vector<float>(70, kNan)), -kInf);
  EXPECT_EQ(MaxLogit({}), -kInf);
}

TEST(LogitPasses, GiveTheMaximumOfEachBlock) {
  const std::vector<float> row = RandomLogits(1000, 41);
  for (const size_t block : {16u, 64u}) {
    std::vector<float> maxima((row.size() + block - 1) / block);
    BlockMaxima(row, block, maxima.data());
    for (size_t i = 0; i < maxima.size(); ++i) {
      const auto begin = row.begin() + static_cast<std::ptrdiff_t>(i * block);
      const auto end = row.begin() + static_cast<std::ptrdiff_t>(
                                         std::min(row.size(), (i + 1) * block));
      EXPECT_EQ(maxima[i], *std::max_element(begin, end));
    }
  }
}

TEST(LogitPasses, ExponentiateWithinTwoUnitsInTheLastPlace) {
  std::vector<float> row;
  for (int i = 0; i <= 86'000; ++i) row.push_back(-0.001f * i);
  std::vector<float> weights(row.size());
  std::vector<double> sums(LogitBlocks(row.size()));
  const double total = ExpWeights(row, 0, 1, weights.data(), sums.data());
  double sum = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    const double want = std::exp(double{row[i]});
    EXPECT_NEAR(weights[i], want, 2 * 0x1p-23 * want) << row[i];
    sum += weights[i];
  }
  EXPECT_EQ(weights[0], 1);
  // 86000 sums of doubles in two orders.
  EXPECT_NEAR(total, sum, 2 * 86'001 * 0x1p-53 * sum);
  EXPECT_NEAR(std::accumulate(sums.begin(), sums.end(), 0.0), total, 0);
}

TEST(LogitPasses, WeighWhatIsFarBelowOrBannedOrNoNumberAsNothing) {
  for (const size_t size : {4u, 100u}) {
    std::vector<float> row(size, 0.0f);
    row[0] = -88;
    row[1] = -kInf;
    row[2] = kNan;
    std::vector<float> weights(size, kNan);
    std::vector<double> sums(LogitBlocks(size));
    const double total = ExpWeights(row, 0, 1, weights.data(), sums.data());
    EXPECT_EQ(weights[0], 0);
    EXPECT_EQ(weights[1], 0);
    EXPECT_EQ(weights[2], 0);
    EXPECT_EQ(total, static_cast<double>(size) - 3);
    EXPECT_EQ(ExpWeights(row, 0, 1, nullptr, sums.data()), total);
  }
}

TEST(LogitPasses, SumAndFindWhatIsAtLeastTheCut) {
  std::vector<float> row = RandomLogits(777, 42);
  row[100] = kNan;
  row[776] = 1.25f;
  double sum = 0;
  std::vector<int32_t> want;
  for (size_t i = 0; i < row.size(); ++i) {
    if (!(row[i] >= 1.25f)) continue;
    sum += row[i];
    want.push_back(static_cast<int32_t>(i));
  }
  std::vector<int32_t> indices(row.size() + 1);
  indices.resize(FindAtLeast(row, 1.25f, indices.data()));
  EXPECT_EQ(indices, want);
  EXPECT_NEAR(SumAtLeast(row, 1.25f), sum, 777 * 0x1p-53 * sum);
}

}  // namespace
}  // namespace chela
