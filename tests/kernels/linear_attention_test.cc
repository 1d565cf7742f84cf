#include "kernels/linear_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "tests/kernels/attention_rig.h"
#include "tests/reference/linear_attention.h"
#include "tests/support/kernel_test.h"

namespace chela {
namespace {

// The gate of design beside each element's own bound: float32 paths stay within
// this of the float64 twin.
void ExpectRelativeL2(const std::vector<float>& got,
                      const std::vector<reference::Real>& want) {
  ASSERT_EQ(got.size(), want.size());
  double off = 0;
  double all = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    off += (got[i] - want[i].value) * (got[i] - want[i].value);
    all += want[i].value * want[i].value;
  }
  // Written so that NaN is wrong.
  EXPECT_TRUE(std::sqrt(off / all) <= 1e-5) << std::sqrt(off / all);
}

class LinearAttentionTest : public KernelTest {
 protected:
  void ExpectMatch(const reference::AttentionWeights& weights, int64_t count,
                   bool one_by_one = false) {
    ExpectMatch(weights, count,
                one_by_one ? std::vector<int32_t>(static_cast<size_t>(count), 1)
                           : std::vector<int32_t>{static_cast<int32_t>(count)});
  }
  // The pieces are sizes of steps, the last one repeated.
  void ExpectMatch(const reference::AttentionWeights& weights, int64_t count,
                   const std::vector<int32_t>& pieces) {
    ExpectMatch(weights, Tokens(weights, count, 9), pieces);
  }
  void ExpectMatch(const reference::AttentionWeights& weights,
                   const Tokens& tokens, const std::vector<int32_t>& pieces) {
    const auto want = reference::LinearAttention(
        weights, tokens.Column(0, tokens.keys),
        tokens.Column(tokens.keys, tokens.values),
        tokens.Column(tokens.keys + tokens.values, tokens.values));
    std::vector<reference::Real> rows;
    for (const auto& row : want.out) {
      rows.insert(rows.end(), row.begin(), row.end());
    }
    AttentionOn on(backend(), weights);
    const std::vector<float> got = on.Feed(1, tokens, pieces);
    ExpectWithin(got, rows);
    ExpectRelativeL2(got, rows);
    const std::vector<float> state = on.StateOf(1);
    ExpectWithin(state, want.state);
    ExpectRelativeL2(state, want.state);
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

TEST_P(LinearAttentionTest, MatchesTheReferenceInAnyPieces) {
  // Blocks of 64 and groups of 256 positions, cut anywhere.
  for (const float decay : {1.0f, 0.9f, 0.001f}) {
    auto weights = RandomWeights(2, 20, 70, FeatureMap::kElu1, true);
    weights.decay = {decay, 0.99f};
    for (const std::vector<int32_t>& pieces : std::vector<std::vector<int32_t>>{
             {600}, {64}, {65}, {1, 62, 3, 300}, {255, 1, 2, 342}}) {
      SCOPED_TRACE(::testing::Message()
                   << decay << ", " << ::testing::PrintToString(pieces));
      ExpectMatch(weights, 600, pieces);
    }
  }
}

TEST_P(LinearAttentionTest, MatchesTheReferenceForWholeTilesAndWideHeads) {
  for (const int32_t key_dim : {63, 64, 65, 130}) {
    SCOPED_TRACE(key_dim);
    ExpectMatch(RandomWeights(2, key_dim, 68, FeatureMap::kElu1, true), 140,
                std::vector<int32_t>{70});
  }
}

TEST_P(LinearAttentionTest, MatchesTheReferenceForWholeHeads) {
  // As many columns as a cluster of blocks takes at once on a GPU, and no
  // fewer: every block has its part of the norm.
  ExpectMatch(RandomWeights(1, 64, 512, FeatureMap::kElu1, true), 300);
}

TEST_P(LinearAttentionTest, MatchesTheReferenceForInputsOfManySizes) {
  // Blocks of inputs share a scale on a GPU: neither a large token beside it
  // nor a large column may take a small one's accuracy.
  for (const FeatureMap map : {FeatureMap::kElu1, FeatureMap::kIdentity}) {
    const auto weights = RandomWeights(2, 24, 70, map, true);
    Tokens tokens(weights, 330, 9);
    const std::vector<float> rows = RandomFloats(330, -8, 8, 77);
    const std::vector<float> columns = RandomFloats(tokens.values, -8, 8, 78);
    for (size_t t = 0; t < rows.size(); ++t) {
      for (size_t j = 0; j < columns.size(); ++j) {
        // Not negative: SiLU would leave nothing of a large one.
        float& value = tokens.rows[t * static_cast<size_t>(tokens.stride) +
                                   static_cast<size_t>(tokens.keys) + j];
        value = std::abs(value) * std::exp2(std::round(rows[t] + columns[j]));
      }
    }
    ExpectMatch(weights, tokens, {330});
  }
}

TEST_P(LinearAttentionTest, GivesTheSameBitsInPiecesThatEndAtGroups) {
  const auto weights = RandomWeights(2, 13, 85, FeatureMap::kElu1, true);
  const Tokens tokens(weights, 700, 9);
  AttentionOn whole(backend(), weights);
  const std::vector<float> want = whole.Feed(2, tokens, {700});
  for (const std::vector<int32_t>& sizes :
       std::vector<std::vector<int32_t>>{{256}, {512, 188}, {256, 444}}) {
    SCOPED_TRACE(::testing::PrintToString(sizes));
    AttentionOn split(backend(), weights);
    ExpectSameBits(split.Feed(2, tokens, sizes), want);
    ExpectSameBits(split.State(), whole.State());
  }
}

TEST_P(LinearAttentionTest, ChunksOfABatchDoNotSeeEachOther) {
  const auto weights = RandomWeights(2, 16, 66, FeatureMap::kElu1, true);
  struct Text {
    int32_t slot, before, rows;
  };
  const std::vector<Text> texts = {
      {3, 0, 70}, {1, 100, 500}, {0, 30, 1}, {2, 255, 2}};
  AttentionOn together(backend(), weights);
  std::vector<Segment> segments;
  std::vector<float> inputs;
  std::vector<float> want;
  std::vector<std::vector<float>> states;
  for (const Text& text : texts) {
    const Tokens tokens(weights, text.before + text.rows, 40 + text.slot);
    AttentionOn alone(backend(), weights);
    for (AttentionOn* on : {&alone, &together}) {
      if (text.before == 0) continue;
      on->Step(Rows{{.slot = text.slot, .rows = text.before}},
               RowsOf(tokens.rows, tokens.stride, 0, text.before));
    }
    const auto own = RowsOf(tokens.rows, tokens.stride, text.before, text.rows);
    const Segment segment = {
        .slot = text.slot, .rows = text.rows, .position = text.before};
    const auto out = alone.Step(Rows{segment}, own);
    want.insert(want.end(), out.begin(), out.end());
    states.push_back(alone.StateOf(text.slot));
    inputs.insert(inputs.end(), own.begin(), own.end());
    segments.push_back(segment);
  }
  ExpectSameBits(together.Step(Rows(segments), inputs), want);
  for (size_t i = 0; i < texts.size(); ++i) {
    SCOPED_TRACE(i);
    ExpectSameBits(together.StateOf(texts[i].slot), states[i]);
  }
}

TEST_P(LinearAttentionTest, GivesTheSameBitsHoweverAPromptIsSplit) {
  if (backend().Info().name != "cpu") {
    GTEST_SKIP() << "sums blocks of tokens: the pieces' ends matter there";
  }
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

CHELA_ON_EVERY_BACKEND(LinearAttentionTest);

}  // namespace
}  // namespace chela
