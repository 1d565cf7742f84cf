#include "kernels/linear_attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "tests/kernels/attention_rig.h"
#include "tests/reference/linear_attention.h"
#include "tests/support/kernel_test.h"

namespace chela {
namespace {

using ::testing::HasSubstr;

class LinearAttentionTest : public KernelTest {
 protected:
  void ExpectMatch(const reference::AttentionWeights& weights, int64_t count,
                   bool one_by_one = false) {
    const Tokens tokens(weights, count, 9);
    const auto want = reference::LinearAttention(
        weights, tokens.Column(0, tokens.keys),
        tokens.Column(tokens.keys, tokens.values),
        tokens.Column(tokens.keys + tokens.values, tokens.values));
    std::vector<reference::Real> rows;
    for (const auto& row : want.out) {
      rows.insert(rows.end(), row.begin(), row.end());
    }
    AttentionOn on(backend(), weights);
    const std::vector<int32_t> pieces =
        one_by_one ? std::vector<int32_t>(static_cast<size_t>(count), 1)
                   : std::vector<int32_t>{static_cast<int32_t>(count)};
    ExpectWithin(on.Feed(1, tokens, pieces), rows);
    ExpectWithin(on.StateOf(1), want.state);
  }
};

TEST_P(LinearAttentionTest, MatchesTheReferenceForOddShapes) {
  for (const int32_t key_dim : {1, 7, 33}) {
    for (const int32_t value_dim : {1, 7, 33, 64}) {
      SCOPED_TRACE(::testing::Message() << key_dim << " x " << value_dim);
      ExpectMatch(RandomWeights(2, key_dim, value_dim, FeatureMap::kElu1, true),
                  9);
    }
  }
}

TEST_P(LinearAttentionTest, MatchesTheReferenceForEveryFeatureMap) {
  for (const FeatureMap map :
       {FeatureMap::kElu1, FeatureMap::kSilu, FeatureMap::kIdentity}) {
    for (const bool decay : {false, true}) {
      SCOPED_TRACE(::testing::Message() << static_cast<int>(map) << decay);
      ExpectMatch(RandomWeights(3, 8, 16, map, decay), 12);
    }
  }
}

TEST_P(LinearAttentionTest, MatchesTheReferenceOverALongSegment) {
  ExpectMatch(RandomWeights(1, 9, 70, FeatureMap::kElu1, true), 150);
}

TEST_P(LinearAttentionTest, GivesTheSameBitsHoweverAPromptIsSplit) {
  const auto weights = RandomWeights(2, 13, 85, FeatureMap::kElu1, true);
  const Tokens tokens(weights, 150, 9);
  AttentionOn whole(backend(), weights);
  const std::vector<float> want = whole.Feed(2, tokens, {150});
  for (const std::vector<int32_t>& sizes : std::vector<std::vector<int32_t>>{
           {1}, {64}, {65}, {149, 1}, {2, 31, 7, 1}}) {
    SCOPED_TRACE(sizes[0]);
    AttentionOn split(backend(), weights);
    ExpectSameBits(split.Feed(2, tokens, sizes), want);
    ExpectSameBits(split.State(), whole.State());
  }
}

TEST_P(LinearAttentionTest, KeepsTheSequencesOfABatchApart) {
  const auto weights = RandomWeights(3, 5, 21, FeatureMap::kElu1, true);
  const Tokens one(weights, 20, 31);
  const Tokens two(weights, 3, 32);
  AttentionOn alone(backend(), weights);
  const std::vector<float> want_one = alone.Feed(0, one, {20});
  const std::vector<float> want_two = alone.Feed(1, two, {3});

  AttentionOn both(backend(), weights);
  std::vector<float> inputs = two.rows;
  inputs.insert(inputs.end(), one.rows.begin(), one.rows.end());
  const std::vector<float> out =
      both.Step(Rows{{.slot = 3, .rows = 3}, {.slot = 0, .rows = 20}}, inputs);
  ExpectSameBits(RowsOf(out, 63, 0, 3), want_two);
  ExpectSameBits(RowsOf(out, 63, 3, 20), want_one);
  ExpectSameBits(both.StateOf(3), alone.StateOf(1));
  ExpectSameBits(both.StateOf(0), alone.StateOf(0));
}

TEST_P(LinearAttentionTest, MatchesTheReferenceForManyValues) {
  // More columns than a cluster of blocks takes at once on a GPU.
  for (const int32_t value_dim : {512, 700, 1030}) {
    for (const bool one_by_one : {false, true}) {
      SCOPED_TRACE(::testing::Message() << value_dim << one_by_one);
      ExpectMatch(RandomWeights(2, 9, value_dim, FeatureMap::kElu1, true), 6,
                  one_by_one);
    }
  }
}

TEST_P(LinearAttentionTest, LeavesOtherSlotsAndTheGapsAlone) {
  const auto weights = RandomWeights(2, 5, 9, FeatureMap::kSilu, false);
  const Tokens tokens(weights, 2, 1);
  AttentionOn on(backend(), weights);
  const std::vector<float> before = on.State();
  on.Feed(1, tokens, {1});
  const std::vector<float> after = on.State();
  const int64_t stride = on.slot_stride();
  ExpectSameBits(RowsOf(after, 1, 0, stride), RowsOf(before, 1, 0, stride));
  ExpectSameBits(
      RowsOf(after, 1, 2 * stride - kAttentionGap, 2 * stride + kAttentionGap),
      RowsOf(before, 1, 2 * stride - kAttentionGap,
             2 * stride + kAttentionGap));
}

TEST_P(LinearAttentionTest, ForgetsTheSlotsLastOwnerAtPositionZero) {
  const auto weights = RandomWeights(2, 5, 9, FeatureMap::kElu1, true);
  const Tokens old(weights, 7, 1);
  const Tokens tokens(weights, 4, 2);
  AttentionOn fresh(backend(), weights);
  AttentionOn reused(backend(), weights);
  reused.Feed(0, old, {7});
  ExpectSameBits(reused.Feed(0, tokens, {1}), fresh.Feed(0, tokens, {1}));
  ExpectSameBits(reused.State(), fresh.State());
}

TEST_P(LinearAttentionTest, GivesTheSameBitsOnAnyNumberOfThreads) {
  const auto weights = RandomWeights(3, 16, 150, FeatureMap::kElu1, true);
  const Tokens tokens(weights, 100, 4);
  // A long segment beside decode rows, then decode rows alone.
  const Rows mixed{
      {.slot = 0, .rows = 90}, {.slot = 1, .rows = 5}, {.slot = 2, .rows = 5}};
  const Rows decode{{.slot = 2, .rows = 1, .position = 5}};
  const auto alone = MakeWith(1);
  AttentionOn want(*alone, weights);
  const std::vector<float> want_mixed = want.Step(mixed, tokens.rows);
  const std::vector<float> last = RowsOf(tokens.rows, tokens.stride, 0, 1);
  const std::vector<float> want_decode = want.Step(decode, last);
  for (const int32_t threads : {2, 3}) {
    SCOPED_TRACE(threads);
    const auto many = MakeWith(threads);
    AttentionOn on(*many, weights);
    ExpectSameBits(on.Step(mixed, tokens.rows), want_mixed);
    ExpectSameBits(on.Step(decode, last), want_decode);
    ExpectSameBits(on.State(), want.State());
  }
}

TEST_P(LinearAttentionTest, TakesADecayOfOneForNone) {
  auto weights = RandomWeights(2, 8, 16, FeatureMap::kElu1, false);
  const Tokens tokens(weights, 10, 4);
  AttentionOn none(backend(), weights);
  const std::vector<float> want = none.Feed(0, tokens, {10});
  auto ones = weights;
  ones.decay = {1.0f, 1.0f};
  AttentionOn with(backend(), ones);
  ExpectSameBits(with.Feed(0, tokens, {10}), want);
}

TEST_P(LinearAttentionTest, StaysFiniteForExtremeInputs) {
  const auto weights = RandomWeights(1, 4, 8, FeatureMap::kElu1, true);
  Tokens tokens(weights, 2, 4);
  for (size_t i = 0; i < tokens.rows.size(); ++i) {
    tokens.rows[i] = i % 2 == 0 ? -1e4f : 1e4f;
  }
  AttentionOn on(backend(), weights);
  for (const float value : on.Feed(0, tokens, {2})) {
    EXPECT_TRUE(std::isfinite(value)) << value;
  }
}

TEST_P(LinearAttentionTest, RejectsScalarsOutOfRange) {
  const LinearAttention good{.heads = 2,
                             .key_dim = 3,
                             .value_dim = 4,
                             .shared = {nullptr, 6},
                             .value = {nullptr, 8},
                             .reset = {nullptr, 8},
                             .state = {nullptr, 24}};
  ASSERT_TRUE(backend().BeginStep({}).ok());
  ASSERT_TRUE(backend().Run(good).ok());  // No rows: does nothing.
  std::vector<LinearAttention> bad(9, good);
  bad[0].heads = 0;
  bad[1].key_dim = 0;
  bad[2].value_dim = -1;
  bad[3].norm_eps = NAN;
  bad[4].feature_map = static_cast<FeatureMap>(3);
  bad[5].shared.stride = 5;
  bad[6].value.stride = 7;
  bad[7].reset.stride = 0;
  bad[8].state.slot_stride = 23;
  for (size_t i = 0; i < bad.size(); ++i) {
    SCOPED_TRACE(i);
    const absl::Status status = backend().Run(bad[i]);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("want"));
  }
}

CHELA_ON_EVERY_BACKEND(LinearAttentionTest);

}  // namespace
}  // namespace chela
