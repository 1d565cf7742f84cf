#include "models/warm_up.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "tests/models/running_model.h"
#include "tests/server/hooked_backend.h"
#include "tests/support/tiny_model.h"

namespace chela {
namespace {

using test_support::HookedBackend;
using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr int32_t kSlots = 6;

class WarmUpTest : public ::testing::Test {
 protected:
  // A model for steps of at most `rows` rows, and what its steps look like.
  void Load(int32_t rows, int32_t slots = kSlots) {
    BackendOptions options;
    if (OnCuda()) options.kind = BackendKind::kCuda;
    auto backend = MakeBackend(options);
    ASSERT_TRUE(backend.ok()) << backend.status();
    backend_ = std::make_unique<HookedBackend>(*std::move(backend));
    auto weights = Weights::Load(*backend_, checkpoint_.directory());
    ASSERT_TRUE(weights.ok()) << weights.status();
    model_ = *ChelaModel::Create(*backend_, *std::move(weights), rows);
    pool_ = *StatePool::Create(*backend_, model_->config(), slots);
    backend_->SetHook([this](const StepRows& step) {
      std::vector<int32_t> rows_of;
      for (const Segment& one : step.segments) rows_of.push_back(one.rows);
      ++steps_[rows_of];
      return absl::OkStatus();
    });
  }
  // The pool is as it was made: all free, the lowest first, all zero.
  void ExpectNoTrace() {
    std::vector<StatePool::Slot> slots;
    const std::vector<std::byte> zero(static_cast<size_t>(pool_->slot_bytes()));
    std::vector<std::byte> state = zero;
    for (int32_t id = 0; id < pool_->num_slots(); ++id) {
      slots.push_back(*pool_->Acquire());
      EXPECT_EQ(slots.back().id(), id);
      EXPECT_TRUE(pool_->Save(slots.back(), state).ok());
      EXPECT_TRUE(state == zero) << id;
    }
  }
  // As it is, then recorded; and so with draws, where there are any.
  int DecodeRuns() const { return model_->draws_tokens() ? 4 : 2; }
  static std::vector<int32_t> Decoding(size_t rows) {
    return std::vector<int32_t>(rows, 1);
  }

  test_support::TinyModel checkpoint_;
  std::unique_ptr<HookedBackend> backend_;
  std::unique_ptr<ChelaModel> model_;
  std::unique_ptr<StatePool> pool_;
  std::map<std::vector<int32_t>, int> steps_;
};

TEST_F(WarmUpTest, OneTokenLeavesNoTrace) {
  Load(512);
  ASSERT_TRUE(WarmUpToken(*model_, *pool_).ok());
  EXPECT_THAT(steps_, ElementsAre(Pair(Decoding(1), 1)));
  ExpectNoTrace();
}

TEST_F(WarmUpTest, ChunksFillTheLargestStep) {
  Load(600);
  ASSERT_TRUE(WarmUpChunks(*model_, *pool_).ok());
  EXPECT_THAT(steps_, ElementsAre(Pair(ElementsAre(200, 200, 200), 1)));
  ExpectNoTrace();
}

TEST_F(WarmUpTest, ChunksAreLongerWhereSlotsAreFew) {
  Load(601, 2);
  ASSERT_TRUE(WarmUpChunks(*model_, *pool_).ok());
  EXPECT_THAT(steps_, ElementsAre(Pair(ElementsAre(301, 300), 1)));
  ExpectNoTrace();
}

TEST_F(WarmUpTest, EachBucketOfDecodeRowsRunsTwiceAndAStepBesideAChunk) {
  Load(512);
  ASSERT_TRUE(WarmUpDecode(*model_, *pool_).ok());
  const int runs = DecodeRuns();
  EXPECT_THAT(steps_, UnorderedElementsAre(
                          Pair(ElementsAre(256, 1, 1, 1, 1, 1), 1),
                          Pair(Decoding(6), runs), Pair(Decoding(4), runs),
                          Pair(Decoding(2), runs), Pair(Decoding(1), runs)));
  ExpectNoTrace();
}

TEST_F(WarmUpTest, AStepHasNoMoreRowsThanTheModelTakes) {
  Load(4);
  ASSERT_TRUE(WarmUpDecode(*model_, *pool_).ok());
  const int runs = DecodeRuns();
  EXPECT_THAT(steps_, UnorderedElementsAre(Pair(Decoding(4), runs + 1),
                                           Pair(Decoding(2), runs),
                                           Pair(Decoding(1), runs)));
  ExpectNoTrace();
}

TEST_F(WarmUpTest, ReportsADeviceThatFails) {
  Load(512);
  backend_->SetHook(
      [](const StepRows&) { return absl::InternalError("no kernel image"); });
  EXPECT_EQ(WarmUpToken(*model_, *pool_).message(), "no kernel image");
  EXPECT_EQ(WarmUpChunks(*model_, *pool_).message(), "no kernel image");
  EXPECT_EQ(WarmUpDecode(*model_, *pool_).message(), "no kernel image");
  EXPECT_EQ(pool_->free_slots(), kSlots);
}

}  // namespace
}  // namespace chela
