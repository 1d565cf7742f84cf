// What ChelaModel::Forward takes and refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "models/chela_model.h"
#include "tests/models/running_model.h"
#include "tests/support/tiny_model.h"

namespace chela {
namespace {

using test_support::TinyConfig;
using test_support::TinyModel;
using ::testing::HasSubstr;

class ForwardTest : public testing::Test {
 protected:
  ForwardTest() : running_(checkpoint_.directory(), {.max_rows = 8}) {
    plan_.segments = {{0, 0, 2, 0}, {2, 2, 1, 5}};
    plan_.tokens = {256, 65, 66};
    plan_.logits_rows = {1, 2};
  }
  absl::Status Forward() {
    std::vector<float> logits(plan_.logits_rows.size() * 258);
    return running_.model().Forward(plan_, running_.pool(), logits);
  }
  void ExpectRefusal(const std::string& message) {
    const absl::Status status = Forward();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }

  TinyModel checkpoint_;
  RunningModel running_;
  StepPlan plan_;
};

TEST_F(ForwardTest, AcceptsAPlan) { EXPECT_TRUE(Forward().ok()) << Forward(); }

TEST_F(ForwardTest, DoesNothingForAnEmptyPlan) {
  plan_ = {};
  EXPECT_TRUE(Forward().ok()) << Forward();
}

TEST_F(ForwardTest, NeedsNoLogits) {
  plan_.logits_rows.clear();
  EXPECT_TRUE(Forward().ok()) << Forward();
}

TEST_F(ForwardTest, DoesNotKeepThePlan) {
  for (int i = 0; i < 3; ++i) {
    auto plan = std::make_unique<StepPlan>(plan_);
    std::vector<float> logits(2 * 258);
    ASSERT_TRUE(running_.model().Forward(*plan, running_.pool(), logits).ok());
  }
}

TEST_F(ForwardTest, RefusesMoreRowsThanItHasSpaceFor) {
  plan_.segments = {{0, 0, 9, 0}};
  plan_.tokens.assign(9, 1);
  ExpectRefusal("rows 9; want at most 8");
}

TEST_F(ForwardTest, RefusesSegmentsThatDoNotCoverTheTokens) {
  plan_.segments[1].first_row = 1;
  ExpectRefusal("first row 1; want 2");
  plan_.segments[1].first_row = 2;
  plan_.segments[1].rows = 2;
  ExpectRefusal("rows of a segment 2; want [1, 1]");
  plan_.segments[1].rows = 0;
  ExpectRefusal("rows of a segment 0; want [1, 1]");
  plan_.segments.pop_back();
  ExpectRefusal("rows of all segments 2; want the number of tokens, 3");
}

TEST_F(ForwardTest, RefusesASlotThatIsNotThePools) {
  for (const int32_t slot : {-1, 4}) {
    plan_.segments[1].slot = slot;
    ExpectRefusal("slot " + std::to_string(slot) + "; want [0, 4)");
  }
}

TEST_F(ForwardTest, RefusesASlotThatStandsTwice) {
  plan_.segments[1].slot = 0;
  ExpectRefusal("slot 0; want each slot once");
}

TEST_F(ForwardTest, RefusesAPositionThatOverflows) {
  for (const int64_t position :
       {int64_t{-1}, std::numeric_limits<int64_t>::max()}) {
    plan_.segments[1].position = position;
    ExpectRefusal("position " + std::to_string(position));
  }
}

TEST_F(ForwardTest, RefusesATokenOutsideTheVocabulary) {
  for (const int32_t token : {-1, 258}) {
    plan_.tokens[2] = token;
    ExpectRefusal("token " + std::to_string(token) + "; want [0, 258)");
  }
}

TEST_F(ForwardTest, RefusesLogitsRowsOutOfOrder) {
  plan_.logits_rows = {2, 1};
  ExpectRefusal("logits row 1; want (2, 3)");
  plan_.logits_rows = {1, 1};
  ExpectRefusal("logits row 1; want (1, 3)");
  plan_.logits_rows = {3};
  ExpectRefusal("logits row 3; want (-1, 3)");
}

TEST_F(ForwardTest, RefusesSpaceOfAnotherSize) {
  std::vector<float> logits(257);
  const absl::Status status =
      running_.model().Forward(plan_, running_.pool(), logits);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("space for logits 257; want 516 floats"));
}

TEST_F(ForwardTest, RefusesThePoolOfAnotherModel) {
  ModelConfig other = TinyConfig();
  other.num_hidden_layers = 3;
  auto pool = StatePool::Create(running_.backend(), other, 4);
  ASSERT_TRUE(pool.ok()) << pool.status();
  std::vector<float> logits(2 * 258);
  EXPECT_TRUE(
      absl::IsInvalidArgument(running_.model().Forward(plan_, **pool, logits)));
}

TEST_F(ForwardTest, ChangesNothingWhenItRefuses) {
  const auto slot = running_.Acquire();
  const std::vector<int32_t> tokens = {256, 72, 105, 33};
  running_.Feed(slot, tokens, 0, 3);
  std::vector<std::byte> before(
      static_cast<size_t>(running_.pool().slot_bytes()));
  auto after = before;
  ASSERT_TRUE(running_.pool().Save(slot, before).ok());
  plan_.segments = {{slot.id(), 0, 2, 3}};
  plan_.tokens = {1, 258};
  EXPECT_FALSE(Forward().ok());
  ASSERT_TRUE(running_.pool().Save(slot, after).ok());
  EXPECT_EQ(before, after);
}

TEST_F(ForwardTest, CountsItsActivations) {
  const ModelConfig& config = running_.config();
  const int64_t floats = 4 * config.hidden_size + config.projection_rows() +
                         2 * config.value_dim + config.vocab_size;
  EXPECT_GE(running_.model().activation_bytes(), 8 * floats * 4);
  auto weights = Weights::Load(running_.backend(), checkpoint_.directory());
  EXPECT_TRUE(absl::IsInvalidArgument(
      ChelaModel::Create(running_.backend(), *std::move(weights), 0).status()));
}

}  // namespace
}  // namespace chela
