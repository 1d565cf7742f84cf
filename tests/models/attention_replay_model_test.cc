// A model with attention replay: the logits of one without within float32's
// accuracy, and a row's bits in any company and after any move of its state.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/models/running_model.h"
#include "tests/support/tiny_model.h"

namespace chela {
namespace {

using test_support::TinyConfig;
using test_support::TinyModel;
using ::testing::HasSubstr;
using Logits = std::vector<std::vector<float>>;

constexpr int64_t kTokens = 90;

class AttentionReplayModelTest : public testing::TestWithParam<LongConvKind> {
 protected:
  AttentionReplayModelTest()
      : checkpoint_(Config()), tokens_(RandomTokens(kTokens, 258, 11)) {}

  static ModelConfig Config() {
    ModelConfig config = TinyConfig();
    config.long_conv_kind = GetParam();
    if (config.long_conv_kind == LongConvKind::kExplicit) {
      config.long_conv_base_length = 0;
    }
    return config;
  }
  RunningModel::Options With(int32_t period, int32_t threads = 2) const {
    RunningModel::Options options;
    options.threads = threads;
    options.attention_replay = period;
    return options;
  }
  static void Poison(RunningModel& running, const StatePool::Slot& slot) {
    const std::vector<std::byte> ones(
        static_cast<size_t>(running.pool().slot_bytes()), std::byte{0xff});
    ASSERT_TRUE(running.pool().Restore(ones, slot).ok());
  }
  static std::vector<std::byte> Saved(RunningModel& running,
                                      const StatePool::Slot& slot) {
    std::vector<std::byte> bytes(
        static_cast<size_t>(running.pool().slot_bytes()));
    EXPECT_TRUE(running.pool().Save(slot, bytes).ok());
    return bytes;
  }
  // A prompt of 20 tokens, then token by token.
  Logits Generate(RunningModel& running, const StatePool::Slot& slot) {
    Logits rows = running.Feed(slot, tokens_, 0, 20);
    Append(rows, Decode(running, slot, 20, kTokens));
    return rows;
  }
  Logits Decode(RunningModel& running, const StatePool::Slot& slot,
                int64_t first, int64_t end) {
    Logits rows;
    for (int64_t t = first; t < end; ++t) {
      Append(rows, running.Feed(slot, tokens_, t, 1));
    }
    return rows;
  }
  static void Append(Logits& to, const Logits& rows) {
    to.insert(to.end(), rows.begin(), rows.end());
  }
  static Logits Part(const Logits& rows, int64_t first, int64_t end) {
    return Logits(rows.begin() + first, rows.begin() + end);
  }

  TinyModel checkpoint_;
  std::vector<int32_t> tokens_;
};

TEST_P(AttentionReplayModelTest, GivesTheLogitsOfAModelWithout) {
  RunningModel plain(checkpoint_.directory(), With(0));
  const Logits want = Generate(plain, plain.Acquire());
  for (const int32_t period : {2, 5, 8, 32}) {
    SCOPED_TRACE(period);
    RunningModel running(checkpoint_.directory(), With(period));
    const auto slot = running.Acquire();
    Poison(running, slot);
    const Logits got = Generate(running, slot);
    ASSERT_EQ(got.size(), want.size());
    for (size_t row = 0; row < got.size(); ++row) {
      // Each may be 1e-5 off the definition.
      EXPECT_TRUE(RelativeL2(got[row], want[row]) <= 2e-5)
          << "row " << row << ": " << RelativeL2(got[row], want[row]);
    }
  }
}

TEST_P(AttentionReplayModelTest, AnyBatchSlotAndThreadsGiveTheSameBits) {
  RunningModel alone(checkpoint_.directory(), With(6, 1));
  const Logits want = Generate(alone, alone.Acquire());
  RunningModel running(checkpoint_.directory(), With(6, 3));
  const auto other = running.Acquire();
  const auto slot = running.Acquire();
  Poison(running, slot);
  Logits got = running.Feed(slot, tokens_, 0, 20);
  const std::vector<int32_t> others = RandomTokens(kTokens, 258, 5);
  running.Feed(other, others, 0, 3);
  for (int64_t t = 20; t < kTokens; ++t) {
    StepPlan plan;
    plan.segments = {
        {.slot = other.id(), .first_row = 0, .rows = 1, .position = t - 17},
        {.slot = slot.id(), .first_row = 1, .rows = 1, .position = t}};
    plan.tokens = {others[static_cast<size_t>(t - 17)],
                   tokens_[static_cast<size_t>(t)]};
    got.push_back(running.Step(plan)[1]);
  }
  EXPECT_EQ(got, want);
}

TEST_P(AttentionReplayModelTest, AStateMovesAnywhereInAPeriod) {
  RunningModel running(checkpoint_.directory(), With(5));
  RunningModel second(checkpoint_.directory(), With(5));
  const auto from = running.Acquire();
  const auto fork = running.Acquire();
  const auto elsewhere = second.Acquire();
  const Logits want = Generate(running, from);
  for (int64_t cut = 21; cut < 32; ++cut) {
    SCOPED_TRACE(cut);
    running.Feed(from, tokens_, 0, 20);
    Decode(running, from, 20, cut);
    Poison(running, fork);
    ASSERT_TRUE(running.pool().Copy(from, fork).ok());
    const std::vector<std::byte> state = Saved(running, from);
    ASSERT_TRUE(second.pool().Restore(state, elsewhere).ok());
    // The original goes another way and back.
    running.Feed(from, RandomTokens(kTokens, 258, 99), cut, 3);
    running.Feed(from, RandomTokens(kTokens, 258, 99), cut + 3, 1);
    ASSERT_TRUE(running.pool().Restore(state, from).ok());
    const Logits rest = Part(want, cut, cut + 12);
    EXPECT_EQ(Decode(running, from, cut, cut + 12), rest);
    EXPECT_EQ(Decode(running, fork, cut, cut + 12), rest);
    EXPECT_EQ(Decode(second, elsewhere, cut, cut + 12), rest);
  }
}

TEST_P(AttentionReplayModelTest, AChunkAfterDecodeReadsTheRing) {
  RunningModel plain(checkpoint_.directory(), With(0));
  const Logits want = plain.Run(plain.Acquire(), tokens_, kTokens / 2);
  RunningModel running(checkpoint_.directory(), With(7));
  for (int32_t decoded = 1; decoded < 9; ++decoded) {
    SCOPED_TRACE(decoded);
    const auto slot = running.Acquire();
    running.Feed(slot, tokens_, 0, 20);
    Decode(running, slot, 20, 20 + decoded);
    const Logits got = running.Feed(slot, tokens_, 20 + decoded, 30);
    for (size_t row = 0; row < got.size(); ++row) {
      const auto& wanted = want[static_cast<size_t>(20 + decoded) + row];
      EXPECT_TRUE(RelativeL2(got[row], wanted) <= 2e-5) << row;
    }
  }
}

TEST_P(AttentionReplayModelTest, RefusesPeriodsAndPoolsOfOtherSettings) {
  RunningModel running(checkpoint_.directory(), With(4));
  for (const int32_t period : {-1, 1, 33}) {
    const absl::Status status =
        Weights::Load(running.backend(), checkpoint_.directory(), std::nullopt,
                      period)
            .status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("want 0 (off) or 2"));
  }
  ModelConfig other = running.config();
  ASSERT_TRUE(other.SetAttentionReplay(5).ok());
  const auto pool = StatePool::Create(running.backend(), other, 1);
  ASSERT_TRUE(pool.ok());
  StepPlan plan;
  plan.segments = {{.slot = 0, .first_row = 0, .rows = 1, .position = 0}};
  plan.tokens = {1};
  EXPECT_TRUE(
      absl::IsInvalidArgument(running.model().Forward(plan, **pool, {})));
}

INSTANTIATE_TEST_SUITE_P(Kinds, AttentionReplayModelTest,
                         testing::Values(LongConvKind::kHierarchical,
                                         LongConvKind::kExplicit),
                         [](const auto& test) {
                           return test.param == LongConvKind::kExplicit
                                      ? "Explicit"
                                      : "Hierarchical";
                         });

}  // namespace
}  // namespace chela
