#include "kernels/attention_replay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "tests/kernels/attention_rig.h"
#include "tests/reference/linear_attention.h"
#include "tests/support/kernel_test.h"

namespace chela {
namespace {

using reference::AttentionWeights;
using reference::Real;

// Written so that NaN is wrong.
void ExpectRelativeL2(const std::vector<double>& got,
                      const std::vector<Real>& want) {
  ASSERT_EQ(got.size(), want.size());
  double off = 0;
  double all = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    off += (got[i] - want[i].value) * (got[i] - want[i].value);
    all += want[i].value * want[i].value;
  }
  EXPECT_TRUE(std::sqrt(off / all) <= 1e-5) << std::sqrt(off / all);
}

// S with the ring added, in float64.
std::vector<double> WholeState(const std::vector<float>& state,
                               const std::vector<float>& ring,
                               const AttentionWeights& weights,
                               int32_t period) {
  const AttentionReplay replay = {.period = period, .offset = 0, .ring = {}};
  const int64_t dk = weights.key_dim;
  const int64_t dv = weights.value_dim;
  std::vector<double> whole(state.begin(), state.end());
  for (int32_t head = 0; head < weights.heads; ++head) {
    const float* const keys = ring.data() + head * replay.head_floats(dk, dv);
    const float* const values = keys + replay.values_at(dk);
    const double decay = weights.decay.empty() ? 1.0 : weights.decay[head];
    const int64_t entries = RingCount(ring, weights, period, head);
    for (int64_t s = 0; s < entries; ++s) {
      for (int64_t i = 0; i < dk; ++i) {
        for (int64_t j = 0; j < dv; ++j) {
          double& at = whole[static_cast<size_t>((head * dk + i) * dv + j)];
          at = decay * at + double{keys[s * dk + i]} * values[s * dv + j];
        }
      }
    }
  }
  return whole;
}

class AttentionReplayTest : public KernelTest {
 protected:
  // The pieces are sizes of steps, the last one repeated.
  void ExpectMatch(const AttentionWeights& weights, int32_t period,
                   int32_t count, const std::vector<int32_t>& pieces = {1}) {
    const Tokens tokens(weights, count, 9);
    const auto want = reference::LinearAttention(
        weights, tokens.Column(0, tokens.keys),
        tokens.Column(tokens.keys, tokens.values),
        tokens.Column(tokens.keys + tokens.values, tokens.values));
    std::vector<Real> rows;
    for (const auto& row : want.out) {
      rows.insert(rows.end(), row.begin(), row.end());
    }
    AttentionOn on(backend(), weights, period, 3);
    const std::vector<float> got = on.Feed(1, tokens, pieces);
    ExpectWithin(got, rows);
    ExpectRelativeL2({got.begin(), got.end()}, rows);
    ExpectRelativeL2(WholeState(on.StateOf(1), on.RingOf(1), weights, period),
                     want.state);
  }
};

TEST_P(AttentionReplayTest, MatchesTheReferenceOverSeveralPeriods) {
  for (const int32_t period : {2, 3, 8, 16, 17, 18, 31, 32}) {
    SCOPED_TRACE(period);
    ExpectMatch(RandomWeights(3, 20, 70, FeatureMap::kElu1, true), period,
                3 * period + 5);
  }
}

TEST_P(AttentionReplayTest, MatchesTheReferenceForOddShapes) {
  for (const int32_t key_dim : {1, 7, 64, 65, 130}) {
    for (const int32_t value_dim : {1, 7, 64, 130}) {
      SCOPED_TRACE(::testing::Message() << key_dim << " x " << value_dim);
      ExpectMatch(RandomWeights(2, key_dim, value_dim, FeatureMap::kElu1, true),
                  5, 13);
    }
  }
  // More columns than a cluster of blocks takes at once on a GPU.
  ExpectMatch(RandomWeights(2, 64, 512, FeatureMap::kElu1, true), 8, 19);
  ExpectMatch(RandomWeights(2, 9, 1030, FeatureMap::kElu1, true), 20, 41);
}

TEST_P(AttentionReplayTest, MatchesTheReferenceForEveryFeatureMapAndDecay) {
  for (const FeatureMap map :
       {FeatureMap::kElu1, FeatureMap::kSilu, FeatureMap::kIdentity}) {
    SCOPED_TRACE(static_cast<int>(map));
    ExpectMatch(RandomWeights(3, 8, 16, map, false), 6, 20);
    auto weights = RandomWeights(3, 8, 16, map, true);
    weights.decay = {1.0f, 0.9f, 0.001f};
    ExpectMatch(weights, 6, 20);
    ExpectMatch(weights, 32, 70);
  }
}

TEST_P(AttentionReplayTest, MatchesTheReferenceWithChunksAnywhere) {
  for (const int32_t key_dim : {20, 70}) {
    const auto weights = RandomWeights(2, key_dim, 70, FeatureMap::kElu1, true);
    for (const std::vector<int32_t>& pieces : std::vector<std::vector<int32_t>>{
             {70, 1}, {1, 1, 1, 2, 1}, {1, 5, 1, 1, 64, 1, 1, 1, 3, 1}}) {
      SCOPED_TRACE(::testing::PrintToString(pieces));
      ExpectMatch(weights, 4, 90, pieces);
      ExpectMatch(weights, 11, 90, pieces);
    }
  }
}

TEST_P(AttentionReplayTest, WritesAStateOnlyWhereItsHeadsPeriodEnds) {
  const auto weights = RandomWeights(3, 5, 9, FeatureMap::kElu1, true);
  constexpr int32_t kPeriod = 4;
  const Tokens tokens(weights, 14, 1);
  AttentionOn on(backend(), weights, kPeriod, 6);
  std::vector<float> before = on.StateOf(2);
  for (int64_t t = 0; t < 14; ++t) {
    on.StepOf({.slot = 2, .rows = 1, .position = t}, tokens);
    const std::vector<float> after = on.StateOf(2);
    for (int32_t head = 0; head < 3; ++head) {
      SCOPED_TRACE(::testing::Message() << "token " << t << ", head " << head);
      const bool ends = t == 0 || (t + 6 + head) % kPeriod == 0;
      const auto was = RowsOf(before, 45, head, 1);
      const auto is = RowsOf(after, 45, head, 1);
      if (ends) {
        EXPECT_NE(was, is);
      } else {
        ExpectSameBits(is, was);
      }
    }
    before = after;
  }
}

TEST_P(AttentionReplayTest, GivesTheSameBitsInAnyBatchSlotAndOrder) {
  for (const int32_t value_dim : {150, 512}) {
    const auto weights =
        RandomWeights(3, 33, value_dim, FeatureMap::kElu1, true);
    constexpr int32_t kPeriod = 5;
    const Tokens one(weights, 30, 31);
    const Tokens two(weights, 30, 32);
    const Tokens three(weights, 30, 33);
    AttentionOn alone(backend(), weights, kPeriod);
    const std::vector<float> want_one = alone.Feed(0, one, {1});
    const std::vector<float> want_two = alone.Feed(1, two, {7, 1});
    alone.Feed(2, three, {30});

    // The others are at other places of the period, and a chunk is among them.
    AttentionOn both(backend(), weights, kPeriod);
    both.StepOf({.slot = 1, .rows = 3}, three);
    both.StepOf({.slot = 0, .rows = 7}, two);
    for (int32_t t = 0; t < 23; ++t) {
      const Rows rows{{.slot = 0, .rows = 1, .position = 7 + t},
                      {.slot = 1, .rows = 2, .position = 3},
                      {.slot = 3, .rows = 1, .position = t}};
      std::vector<float> inputs = RowsOf(two.rows, two.stride, 7 + t, 1);
      const auto chunk = RowsOf(three.rows, three.stride, 3, 2);
      const auto last = RowsOf(one.rows, one.stride, t, 1);
      inputs.insert(inputs.end(), chunk.begin(), chunk.end());
      inputs.insert(inputs.end(), last.begin(), last.end());
      const std::vector<float> out = both.Step(rows, inputs);
      const int64_t width = one.values;
      ExpectSameBits(RowsOf(out, width, 0, 1),
                     RowsOf(want_two, width, 7 + t, 1));
      ExpectSameBits(RowsOf(out, width, 3, 1), RowsOf(want_one, width, t, 1));
    }
    ExpectSameBits(both.StateOf(0), alone.StateOf(1));
    ExpectSameBits(both.RingOf(0), alone.RingOf(1));
  }
}

// Copies of one sequence: as many rows as take other shapes of launches.
TEST_P(AttentionReplayTest, GivesTheSameBitsInLargeBatches) {
  const auto weights = RandomWeights(2, 64, 512, FeatureMap::kElu1, true);
  constexpr int32_t kPeriod = 3;
  constexpr int32_t kRows = 300;
  const Tokens tokens(weights, 8, 5);
  AttentionOn alone(backend(), weights, kPeriod);
  const std::vector<float> want = alone.Feed(0, tokens, {1});
  AttentionOn on(backend(), weights, kPeriod, 0, kRows);
  for (int64_t t = 0; t < 8; ++t) {
    std::vector<Segment> segments;
    std::vector<float> inputs;
    const auto row = RowsOf(tokens.rows, tokens.stride, t, 1);
    for (int32_t i = 0; i < kRows; ++i) {
      segments.push_back({.slot = kRows - 1 - i, .rows = 1, .position = t});
      inputs.insert(inputs.end(), row.begin(), row.end());
    }
    const std::vector<float> out = on.Step(Rows(segments), inputs);
    for (const int32_t i : {0, 1, 77, kRows - 1}) {
      ExpectSameBits(RowsOf(out, tokens.values, i, 1),
                     RowsOf(want, tokens.values, t, 1));
    }
  }
  ExpectSameBits(on.StateOf(kRows - 1), alone.StateOf(0));
}

TEST_P(AttentionReplayTest, GoesOnFromACopyAnywhereInAPeriod) {
  const auto weights = RandomWeights(2, 13, 85, FeatureMap::kElu1, true);
  constexpr int32_t kPeriod = 4;
  const Tokens tokens(weights, 12, 9);
  AttentionOn whole(backend(), weights, kPeriod);
  const std::vector<float> want = whole.Feed(0, tokens, {1});
  for (int64_t cut = 1; cut < 12; ++cut) {
    SCOPED_TRACE(cut);
    AttentionOn on(backend(), weights, kPeriod);
    for (int64_t t = 0; t < cut; ++t) {
      on.StepOf({.slot = 3, .rows = 1, .position = t}, tokens);
    }
    on.CopySlot(3, 0);
    // The first goes on, and what it writes is not the copy's; back to the
    // copy, it gives the same again.
    for (const int32_t slot : {3, 0}) {
      for (int64_t t = cut; t < 12; ++t) {
        ExpectSameBits(
            on.StepOf({.slot = slot, .rows = 1, .position = t}, tokens),
            RowsOf(want, tokens.values, t, 1));
      }
      ExpectSameBits(on.StateOf(slot), whole.StateOf(0));
      ExpectSameBits(on.RingOf(slot), whole.RingOf(0));
    }
  }
}

TEST_P(AttentionReplayTest, GivesTheSameBitsOnAnyNumberOfThreads) {
  const auto weights = RandomWeights(3, 16, 150, FeatureMap::kElu1, true);
  const Tokens tokens(weights, 40, 4);
  const auto alone = MakeWith(1);
  AttentionOn want(*alone, weights, 7);
  const std::vector<float> want_out = want.Feed(1, tokens, {1, 1, 1, 20, 1});
  for (const int32_t threads : {2, 3}) {
    SCOPED_TRACE(threads);
    const auto many = MakeWith(threads);
    AttentionOn on(*many, weights, 7);
    ExpectSameBits(on.Feed(1, tokens, {1, 1, 1, 20, 1}), want_out);
    ExpectSameBits(on.State(), want.State());
    ExpectSameBits(on.Ring(), want.Ring());
  }
}

CHELA_ON_EVERY_BACKEND(AttentionReplayTest);

}  // namespace
}  // namespace chela
