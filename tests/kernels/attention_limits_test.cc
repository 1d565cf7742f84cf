// Linear attention at the ends of its ranges.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/linear_attention.h"
#include "tests/kernels/attention_rig.h"
#include "tests/support/kernel_test.h"

namespace chela {
namespace {

using ::testing::HasSubstr;
using AttentionLimitsTest = KernelTest;

TEST_P(AttentionLimitsTest, TakesADecayOfOneForNone) {
  auto weights = RandomWeights(2, 8, 16, FeatureMap::kElu1, false);
  const Tokens tokens(weights, 10, 4);
  AttentionOn none(backend(), weights);
  const std::vector<float> want = none.Feed(0, tokens, {10});
  auto ones = weights;
  ones.decay = {1.0f, 1.0f};
  AttentionOn with(backend(), ones);
  ExpectSameBits(with.Feed(0, tokens, {10}), want);
}

TEST_P(AttentionLimitsTest, StaysFiniteForExtremeInputs) {
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

TEST_P(AttentionLimitsTest, RejectsScalarsOutOfRange) {
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

CHELA_ON_EVERY_BACKEND(AttentionLimitsTest);

}  // namespace
}  // namespace chela
