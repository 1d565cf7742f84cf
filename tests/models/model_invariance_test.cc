#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <random>
#include <string>
#include <tuple>

#include "tests/models/running_model.h"
#include "tests/support/tiny_model.h"

namespace chela {
namespace {

using test_support::TinyConfig;
using test_support::TinyModel;
using Rows = std::vector<std::vector<float>>;

constexpr int64_t kTokens = 150;  // Beyond both kernels' lengths.

// Rows of one text in other pieces. On the CPU a piece's end changes no bit; on
// a GPU a row's kernels are those of its piece, within the tolerances of the
// design.
void ExpectSame(const Rows& got, const Rows& want, DType dtype) {
  if (!OnCuda()) {
    EXPECT_EQ(got, want);
    return;
  }
  ASSERT_EQ(got.size(), want.size());
  const double bound = dtype == DType::kF32 ? 1e-5 : 1e-2;
  for (size_t row = 0; row < got.size(); ++row) {
    ASSERT_EQ(got[row].size(), want[row].size());
    double off = 0;
    double all = 0;
    for (size_t i = 0; i < got[row].size(); ++i) {
      const double difference = double{got[row][i]} - want[row][i];
      off += difference * difference;
      all += double{want[row][i]} * want[row][i];
    }
    // Written so that NaN is wrong.
    EXPECT_TRUE(std::sqrt(off / all) <= bound)
        << "row " << row << ": " << std::sqrt(off / all);
  }
}

// A row depends on its own sequence only.
class ModelInvarianceTest
    : public testing::TestWithParam<std::tuple<LongConvKind, DType>> {
 protected:
  ModelInvarianceTest()
      : checkpoint_(Config()),
        running_(checkpoint_.directory(), {.max_rows = 160}),
        tokens_(RandomTokens(kTokens, 258, 11)) {
    const auto slot = running_.Acquire();
    whole_ = running_.Run(slot, tokens_, static_cast<int32_t>(kTokens));
  }

  static ModelConfig Config() {
    ModelConfig config = TinyConfig();
    std::tie(config.long_conv_kind, config.torch_dtype) = GetParam();
    if (config.long_conv_kind == LongConvKind::kExplicit) {
      config.long_conv_length = 100;
      config.long_conv_base_length = 0;
    }
    return config;
  }
  static void ExpectPieces(const Rows& got, const Rows& want) {
    ExpectSame(got, want, std::get<1>(GetParam()));
  }
  // Fills a slot's state with NaN: whoever reads it shows it.
  void Poison(const StatePool::Slot& slot) {
    const std::vector<std::byte> ones(
        static_cast<size_t>(running_.pool().slot_bytes()), std::byte{0xff});
    ASSERT_TRUE(running_.pool().Restore(ones, slot).ok());
  }
  std::vector<std::byte> Saved(const StatePool::Slot& slot) {
    std::vector<std::byte> bytes(
        static_cast<size_t>(running_.pool().slot_bytes()));
    EXPECT_TRUE(running_.pool().Save(slot, bytes).ok());
    return bytes;
  }
  // The rows from `first` on, as the whole run gave them.
  Rows Tail(int64_t first) const {
    return Rows(whole_.begin() + first, whole_.end());
  }
  Rows FeedRest(const StatePool::Slot& slot, int64_t first) {
    return running_.Feed(slot, tokens_, first,
                         static_cast<int32_t>(kTokens - first));
  }

  TinyModel checkpoint_;
  RunningModel running_;
  std::vector<int32_t> tokens_;
  Rows whole_;  // logits of tokens_ in one step
};

TEST_P(ModelInvarianceTest, AnyEqualSplitGivesTheSameBits) {
  const auto slot = running_.Acquire();
  for (const int32_t step : {1, 2, 3, 7, 16, 31, 64, 100}) {
    SCOPED_TRACE(step);
    ExpectPieces(running_.Run(slot, tokens_, step), whole_);
  }
}

TEST_P(ModelInvarianceTest, AnyRandomSplitGivesTheSameBits) {
  const auto slot = running_.Acquire();
  std::mt19937_64 random(5);
  for (int round = 0; round < 20; ++round) {
    Rows rows;
    for (int64_t first = 0; first < kTokens;) {
      const int64_t size = std::min<int64_t>(
          kTokens - first, static_cast<int64_t>(random() % 40 + 1));
      for (auto& row :
           running_.Feed(slot, tokens_, first, static_cast<int32_t>(size))) {
        rows.push_back(std::move(row));
      }
      first += size;
    }
    SCOPED_TRACE(round);
    ExpectPieces(rows, whole_);
  }
}

TEST_P(ModelInvarianceTest, EverySlotGivesTheSameBits) {
  std::vector<StatePool::Slot> slots;
  for (int i = 0; i < 4; ++i) {
    SCOPED_TRACE(i);
    slots.push_back(running_.Acquire());
    ExpectPieces(running_.Run(slots.back(), tokens_, 50), whole_);
  }
}

TEST_P(ModelInvarianceTest, APoisonedSlotStartsFromZero) {
  auto slot = running_.Acquire();
  const int32_t id = slot.id();
  Poison(slot);
  slot = StatePool::Slot();
  const auto again = running_.Acquire();
  EXPECT_EQ(again.id(), id);
  ExpectPieces(running_.Run(again, tokens_, 32), whole_);
}

TEST_P(ModelInvarianceTest, ACancelledPromptLeavesNothingBehind) {
  for (const int32_t read : {1, 31, 64, 149}) {
    SCOPED_TRACE(read);
    auto slot = running_.Acquire();
    running_.Feed(slot, RandomTokens(kTokens, 258, 50), 0, read);
    slot = StatePool::Slot();
    slot = running_.Acquire();
    ExpectPieces(running_.Run(slot, tokens_, 40), whole_);
  }
}

// Three sequences share steps, each at its own pace and position; the fourth
// slot holds NaN throughout.
TEST_P(ModelInvarianceTest, AnyBatchGivesTheSameBits) {
  const auto poisoned = running_.Acquire();
  Poison(poisoned);
  struct Sequence {
    StatePool::Slot slot;
    std::vector<int32_t> tokens;
    Rows alone, batched;
  };
  std::vector<Sequence> sequences(3);
  for (size_t i = 0; i < sequences.size(); ++i) {
    Sequence& sequence = sequences[i];
    sequence.slot = running_.Acquire();
    sequence.tokens =
        RandomTokens(60 + 30 * static_cast<int64_t>(i), 258, 20 + i);
    sequence.alone = running_.Run(sequence.slot, sequence.tokens, 40);
  }
  std::mt19937_64 random(9);
  for (bool more = true; more;) {
    StepPlan plan;
    std::vector<Sequence*> owners;
    for (Sequence& sequence : sequences) {
      const int64_t done = static_cast<int64_t>(sequence.batched.size());
      const int64_t left = static_cast<int64_t>(sequence.tokens.size()) - done;
      // A decode row, a chunk, or a pause.
      const int64_t wanted[] = {1, 1, 17, 0};
      const int64_t size = std::min(left, wanted[random() % 4]);
      if (size == 0) continue;
      plan.segments.push_back({sequence.slot.id(),
                               static_cast<int32_t>(plan.tokens.size()),
                               static_cast<int32_t>(size), done});
      for (int64_t t = done; t < done + size; ++t) {
        plan.tokens.push_back(sequence.tokens[static_cast<size_t>(t)]);
        owners.push_back(&sequence);
      }
    }
    const Rows rows = running_.Step(plan);
    for (size_t i = 0; i < rows.size(); ++i) {
      owners[i]->batched.push_back(rows[i]);
    }
    more = false;
    for (const Sequence& sequence : sequences) {
      more |= sequence.batched.size() < sequence.tokens.size();
    }
  }
  for (const Sequence& sequence : sequences) {
    ExpectPieces(sequence.batched, sequence.alone);
  }
}

TEST_P(ModelInvarianceTest, ASavedStateContinuesInAnotherSlot) {
  for (const int32_t cut : {1, 31, 64, 77, 149}) {
    SCOPED_TRACE(cut);
    const auto from = running_.Acquire();
    running_.Feed(from, tokens_, 0, cut);
    const std::vector<std::byte> state = Saved(from);
    Poison(from);
    const auto to = running_.Acquire();
    ASSERT_TRUE(running_.pool().Restore(state, to).ok());
    ExpectPieces(FeedRest(to, cut), Tail(cut));
  }
}

TEST_P(ModelInvarianceTest, ACopiedStateContinuesLikeTheOriginal) {
  for (const int32_t cut : {1, 33, 128}) {
    SCOPED_TRACE(cut);
    const auto from = running_.Acquire();
    const auto fork = running_.Acquire();
    Poison(fork);
    running_.Feed(from, tokens_, 0, cut);
    ASSERT_TRUE(running_.pool().Copy(from, fork).ok());
    // The original goes another way first.
    running_.Feed(from, RandomTokens(kTokens, 258, 99), cut, 10);
    ExpectPieces(FeedRest(fork, cut), Tail(cut));
  }
}

TEST_P(ModelInvarianceTest, AStateContinuesInAnotherProcessImage) {
  RunningModel other(checkpoint_.directory(), {.max_rows = 160, .slots = 1});
  const auto from = running_.Acquire();
  running_.Feed(from, tokens_, 0, 70);
  const auto to = other.Acquire();
  ASSERT_TRUE(other.pool().Restore(Saved(from), to).ok());
  ExpectPieces(other.Feed(to, tokens_, 70, static_cast<int32_t>(kTokens - 70)),
               Tail(70));
}

TEST_P(ModelInvarianceTest, TheNumberOfThreadsChangesNoBit) {
  for (const int32_t threads : {1, 3}) {
    RunningModel other(checkpoint_.directory(),
                       {.max_rows = 160, .slots = 1, .threads = threads});
    EXPECT_EQ(other.Run(other.Acquire(), tokens_, 150), whole_) << threads;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, ModelInvarianceTest,
    testing::Combine(testing::Values(LongConvKind::kExplicit,
                                     LongConvKind::kHierarchical),
                     testing::Values(DType::kF32, DType::kBF16, DType::kF16)),
    [](const auto& test) {
      return std::string(std::get<0>(test.param) == LongConvKind::kExplicit
                             ? "Explicit"
                             : "Hierarchical") +
             Name(std::get<1>(test.param));
    });

}  // namespace
}  // namespace chela
