// The ring of attention replay: whose it is, and what is no ring.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "kernels/attention_replay.h"
#include "kernels/backend.h"
#include "tests/kernels/attention_rig.h"
#include "tests/support/kernel_test.h"

namespace chela {
namespace {

using ::testing::HasSubstr;

using AttentionRingTest = KernelTest;

TEST_P(AttentionRingTest, LeavesOtherSlotsAndTheGapsAlone) {
  const auto weights = RandomWeights(2, 5, 9, FeatureMap::kSilu, false);
  const Tokens tokens(weights, 9, 1);
  AttentionOn on(backend(), weights, 4);
  on.Feed(1, tokens, {1, 1, 1, 3, 1});
  const auto expect_poison = [](const std::vector<float>& all, int64_t stride) {
    for (int64_t i = 0; i < static_cast<int64_t>(all.size()); ++i) {
      const bool own = i / stride == 1 && i % stride < stride - kAttentionGap;
      EXPECT_TRUE(own || std::isnan(all[static_cast<size_t>(i)])) << i;
    }
  };
  expect_poison(on.State(), on.slot_stride());
  expect_poison(on.Ring(), on.ring_stride());
}

TEST_P(AttentionRingTest, ForgetsTheSlotsLastOwnerAtPositionZero) {
  const auto weights = RandomWeights(2, 5, 9, FeatureMap::kElu1, true);
  const Tokens old(weights, 7, 1);
  const Tokens tokens(weights, 9, 2);
  for (const std::vector<int32_t>& pieces :
       std::vector<std::vector<int32_t>>{{1}, {4, 1}}) {
    AttentionOn fresh(backend(), weights, 4);
    AttentionOn reused(backend(), weights, 4);
    reused.Feed(0, old, {1});
    ExpectSameBits(reused.Feed(0, tokens, pieces),
                   fresh.Feed(0, tokens, pieces));
    ExpectSameBits(reused.StateOf(0), fresh.StateOf(0));
  }
}

TEST_P(AttentionRingTest, TakesACountThatIsNoneForAnEmptyRing) {
  const auto weights = RandomWeights(2, 5, 9, FeatureMap::kElu1, true);
  const Tokens tokens(weights, 12, 1);
  AttentionOn empty(backend(), weights, 4);
  empty.StepOf({.slot = 1, .rows = 6}, tokens);
  std::vector<std::vector<float>> want;
  for (const int32_t rows : {1, 3}) {
    AttentionOn on(backend(), weights, 4);
    on.StepOf({.slot = 1, .rows = 6}, tokens);
    want.push_back(on.StepOf({.slot = 1, .rows = rows, .position = 6}, tokens));
  }
  for (const float count : {kPoison, -1.0f, 0.5f, 4.0f, 1e30f, -1e30f,
                            std::numeric_limits<float>::infinity()}) {
    SCOPED_TRACE(count);
    size_t i = 0;
    for (const int32_t rows : {1, 3}) {
      AttentionOn on(backend(), weights, 4);
      on.StepOf({.slot = 1, .rows = 6}, tokens);
      on.SetCount(1, count);
      ExpectSameBits(
          on.StepOf({.slot = 1, .rows = rows, .position = 6}, tokens),
          want[i++]);
    }
  }
  // A full ring at a place where none can be: the period ends.
  AttentionOn on(backend(), weights, 4);
  on.StepOf({.slot = 1, .rows = 6}, tokens);
  on.SetCount(1, 3.0f);
  on.StepOf({.slot = 1, .rows = 1, .position = 6}, tokens);
  EXPECT_EQ(RingCount(on.RingOf(1), weights, 4, 0), 0);
  EXPECT_EQ(RingCount(on.RingOf(1), weights, 4, 1), 0);
}

TEST_P(AttentionRingTest, RejectsPeriodsAndRingsOutOfRange) {
  const LinearAttention good{
      .heads = 2,
      .key_dim = 3,
      .value_dim = 4,
      .shared = {nullptr, 6},
      .value = {nullptr, 8},
      .reset = {nullptr, 8},
      .state = {nullptr, 24},
      .replay = {.period = 32, .offset = 0, .ring = {nullptr, 32 * 14}}};
  ASSERT_TRUE(backend().BeginStep({}).ok());
  ASSERT_TRUE(backend().Run(good).ok());  // No rows: does nothing.
  std::vector<LinearAttention> bad(5, good);
  bad[0].replay.period = 1;
  bad[1].replay.period = 33;
  bad[2].replay.period = -1;
  bad[3].replay.offset = -1;
  bad[4].replay.ring.slot_stride = 32 * 14 - 1;
  for (size_t i = 0; i < bad.size(); ++i) {
    SCOPED_TRACE(i);
    const absl::Status status = backend().Run(bad[i]);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("attention replay"));
  }
}

CHELA_ON_EVERY_BACKEND(AttentionRingTest);

}  // namespace
}  // namespace chela
