#include "models/state_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "tests/support/tiny_model.h"

namespace chela {
namespace {

using ::testing::HasSubstr;

class StatePoolTest : public testing::Test {
 protected:
  StatePoolTest() {
    auto backend = MakeBackend({});
    EXPECT_TRUE(backend.ok()) << backend.status();
    backend_ = *std::move(backend);
    pool_ = Create(3);
  }
  std::unique_ptr<StatePool> Create(int32_t slots) {
    auto pool = StatePool::Create(*backend_, test_support::TinyConfig(), slots);
    EXPECT_TRUE(pool.ok()) << pool.status();
    return *std::move(pool);
  }
  StatePool::Slot Acquire(StatePool& pool) { return *pool.Acquire(); }
  std::vector<std::byte> Pattern(int seed) const {
    std::vector<std::byte> bytes(static_cast<size_t>(pool_->slot_bytes()));
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<std::byte>(i * 7 + static_cast<size_t>(seed));
    }
    return bytes;
  }
  std::vector<std::byte> Saved(const StatePool::Slot& slot) {
    std::vector<std::byte> bytes(static_cast<size_t>(pool_->slot_bytes()));
    EXPECT_TRUE(pool_->Save(slot, bytes).ok());
    return bytes;
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<StatePool> pool_;
};

TEST_F(StatePoolTest, GivesOutEachSlotOnce) {
  std::vector<StatePool::Slot> slots;
  std::set<int32_t> ids;
  for (int i = 0; i < 3; ++i) {
    slots.push_back(Acquire(*pool_));
    ids.insert(slots.back().id());
  }
  EXPECT_EQ(ids, (std::set<int32_t>{0, 1, 2}));
  EXPECT_EQ(pool_->free_slots(), 0);
  const auto full = pool_->Acquire();
  EXPECT_TRUE(absl::IsResourceExhausted(full.status()));
  EXPECT_THAT(std::string(full.status().message()),
              HasSubstr("all 3 states are taken"));
}

TEST_F(StatePoolTest, TakesASlotBackWhenItsClaimEnds) {
  {
    const StatePool::Slot slot = Acquire(*pool_);
    EXPECT_EQ(pool_->free_slots(), 2);
  }
  EXPECT_EQ(pool_->free_slots(), 3);
}

TEST_F(StatePoolTest, MovesAClaimWithoutGivingItBack) {
  StatePool::Slot first = Acquire(*pool_);
  const int32_t id = first.id();
  StatePool::Slot second = std::move(first);
  EXPECT_TRUE(second.valid());
  EXPECT_EQ(second.id(), id);
  EXPECT_EQ(pool_->free_slots(), 2);
  StatePool::Slot third = Acquire(*pool_);
  third = std::move(second);
  EXPECT_EQ(third.id(), id);
}

TEST_F(StatePoolTest, SavesAndRestoresEveryByte) {
  const StatePool::Slot one = Acquire(*pool_);
  const StatePool::Slot other = Acquire(*pool_);
  ASSERT_TRUE(pool_->Restore(Pattern(1), one).ok());
  ASSERT_TRUE(pool_->Restore(Pattern(2), other).ok());
  EXPECT_EQ(Saved(one), Pattern(1));
  EXPECT_EQ(Saved(other), Pattern(2));
}

TEST_F(StatePoolTest, CopiesAWholeSlotAndNothingElse) {
  const StatePool::Slot one = Acquire(*pool_);
  const StatePool::Slot two = Acquire(*pool_);
  const StatePool::Slot three = Acquire(*pool_);
  ASSERT_TRUE(pool_->Restore(Pattern(1), one).ok());
  ASSERT_TRUE(pool_->Restore(Pattern(3), three).ok());
  ASSERT_TRUE(pool_->Copy(one, two).ok());
  EXPECT_EQ(Saved(one), Pattern(1));
  EXPECT_EQ(Saved(two), Pattern(1));
  EXPECT_EQ(Saved(three), Pattern(3));
  EXPECT_TRUE(pool_->Copy(one, one).ok());
  EXPECT_EQ(Saved(one), Pattern(1));
}

TEST_F(StatePoolTest, ClearsAWholeSlotAndNothingElse) {
  const StatePool::Slot a = Acquire(*pool_);
  const StatePool::Slot b = Acquire(*pool_);
  const StatePool::Slot c = Acquire(*pool_);
  for (const StatePool::Slot* slot : {&a, &b, &c}) {
    ASSERT_TRUE(pool_->Restore(Pattern(slot->id()), *slot).ok());
  }
  ASSERT_TRUE(pool_->Clear(b).ok());
  EXPECT_EQ(Saved(a), Pattern(a.id()));
  EXPECT_EQ(Saved(b), std::vector<std::byte>(Saved(b).size()));
  EXPECT_EQ(Saved(c), Pattern(c.id()));
  EXPECT_FALSE(pool_->Clear(StatePool::Slot()).ok());
}

TEST_F(StatePoolTest, PoisonsWhatNobodyClaims) {
  auto created = StatePool::Create(*backend_, test_support::TinyConfig(), 2,
                                   /*poison_free_slots=*/true);
  ASSERT_TRUE(created.ok());
  StatePool& pool = **created;
  const auto first = [&](const StatePool::Slot& slot) {
    std::vector<std::byte> bytes(static_cast<size_t>(pool.slot_bytes()));
    EXPECT_TRUE(pool.Save(slot, bytes).ok());
    float value = 0;
    std::memcpy(&value, bytes.data(), sizeof(value));
    return value;
  };
  StatePool::Slot slot = Acquire(pool);
  EXPECT_TRUE(std::isnan(first(slot)));
  ASSERT_TRUE(pool.Clear(slot).ok());
  EXPECT_EQ(first(slot), 0);
  slot = StatePool::Slot();
  EXPECT_TRUE(std::isnan(first(Acquire(pool))));
}

TEST_F(StatePoolTest, RefusesAStateOfAnotherSize) {
  const StatePool::Slot slot = Acquire(*pool_);
  std::vector<std::byte> bytes(static_cast<size_t>(pool_->slot_bytes()) - 1);
  EXPECT_TRUE(absl::IsInvalidArgument(pool_->Save(slot, bytes)));
  const absl::Status restored = pool_->Restore(bytes, slot);
  EXPECT_TRUE(absl::IsInvalidArgument(restored));
  EXPECT_EQ(std::string(restored.message()),
            "state: " + std::to_string(bytes.size()) + " bytes; want exactly " +
                std::to_string(bytes.size() + 1));
}

TEST_F(StatePoolTest, RefusesAClaimOnAnotherPool) {
  const auto other_pool = Create(1);
  const StatePool::Slot mine = Acquire(*pool_);
  const StatePool::Slot foreign = Acquire(*other_pool);
  const StatePool::Slot none;
  EXPECT_TRUE(absl::IsInvalidArgument(pool_->Copy(foreign, mine)));
  EXPECT_TRUE(absl::IsInvalidArgument(pool_->Copy(mine, none)));
  EXPECT_TRUE(absl::IsInvalidArgument(pool_->Restore(Pattern(1), none)));
}

TEST_F(StatePoolTest, RefusesMoreStatesThanFit) {
  ModelConfig config = test_support::TinyConfig();
  EXPECT_TRUE(absl::IsInvalidArgument(
      StatePool::Create(*backend_, config, 0).status()));
  config.hidden_size = 1 << 18;
  config.num_hidden_layers = 1 << 12;
  config.long_conv_kind = LongConvKind::kExplicit;
  config.long_conv_length = int64_t{1} << 28;
  for (const int32_t slots : {1, std::numeric_limits<int32_t>::max()}) {
    const auto pool = StatePool::Create(*backend_, config, slots);
    EXPECT_TRUE(absl::IsResourceExhausted(pool.status())) << pool.status();
    EXPECT_THAT(
        std::string(pool.status().message()),
        HasSubstr("state pool: " + std::to_string(slots) + " states of "));
  }
}

}  // namespace
}  // namespace chela
