#include "server/session/snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "server/session/snapshot_header.h"
#include "tests/server/session_states.h"
#include "tests/support/tiny_model.h"

namespace chela {
namespace {

using test_support::Encoded;
using test_support::IsState;
using test_support::RandomState;
using test_support::RandomStatePtr;
using test_support::SameState;
using test_support::SmallSnapshotModel;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(SnapshotTest, GivesBackEveryBitOfAState) {
  const SnapshotModel model = SmallSnapshotModel();
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const SequenceStatePtr state = RandomStatePtr(model, seed);
    const absl::StatusOr<SequenceStatePtr> back =
        DecodeSnapshot(Encoded(*state, model), model);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_THAT(*back, IsState(state));
  }
}

TEST(SnapshotTest, IsTheSameBytesForTheSameState) {
  const SnapshotModel model = SmallSnapshotModel();
  const SequenceState state = RandomState(model, 1);
  EXPECT_EQ(Encoded(state, model), Encoded(state, model));
  SequenceState other = state;
  other.sampler.seed ^= 1;
  EXPECT_NE(Encoded(state, model), Encoded(other, model));
}

TEST(SnapshotTest, KeepsNanInfinityAndTheSignOfZero) {
  const SnapshotModel model = SmallSnapshotModel();
  SequenceState state = RandomState(model, 2);
  const float odd[] = {
      std::numeric_limits<float>::quiet_NaN(), -NAN, INFINITY, -INFINITY, -0.0f,
      std::numeric_limits<float>::denorm_min()};
  std::memcpy(state.state.data(), odd, sizeof(odd));
  std::copy(std::begin(odd), std::end(odd), state.logits.begin());
  const auto back = DecodeSnapshot(Encoded(state, model), model);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_TRUE(SameState(**back, state));
}

TEST(SnapshotTest, MayLackTheLogitsThatAPendingTokenReplaces) {
  const SnapshotModel model = SmallSnapshotModel();
  SequenceState state = RandomState(model, 3);
  state.logits.clear();
  state.pending = 4;
  const auto back = DecodeSnapshot(Encoded(state, model), model);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_TRUE(SameState(**back, state));
  state.pending.reset();
  EXPECT_EQ(EncodeSnapshot(state, model).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(SnapshotTest, NamesTheModelsThatDoNotMatch) {
  const SnapshotModel model = SmallSnapshotModel();
  const std::string bytes = Encoded(RandomState(model, 7), model);
  SnapshotModel other = model;
  other.fingerprint = "fedcba9876543210";
  absl::Status status = DecodeSnapshot(bytes, other).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("0123456789abcdef"), HasSubstr("fedcba98765")));
  other = model;
  other.layout = "explicit f32 layers=1";
  status = DecodeSnapshot(bytes, other).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr(model.layout), HasSubstr(other.layout)));
}

// An import is told as soon as it can be.
TEST(SnapshotTest, ItsBeginningTellsAnotherModel) {
  const SnapshotModel model = SmallSnapshotModel();
  const std::string bytes = Encoded(RandomState(model, 13), model);
  const absl::StatusOr<SnapshotHeader> header = ReadSnapshotHeader(bytes);
  ASSERT_TRUE(header.ok()) << header.status();
  const size_t head = WriteSnapshotHead(*header).size();
  SnapshotModel other = model;
  other.fingerprint = "fedcba9876543210";
  for (size_t size = 0; size <= bytes.size(); ++size) {
    const std::string_view some = std::string_view(bytes).substr(0, size);
    const absl::StatusCode of_another =
        CheckSnapshotBeginning(some, other).code();
    if (size < head) {
      ASSERT_EQ(of_another, absl::StatusCode::kDataLoss) << size;
    } else {
      ASSERT_EQ(of_another, absl::StatusCode::kFailedPrecondition) << size;
      ASSERT_TRUE(CheckSnapshotBeginning(some, model).ok()) << size;
    }
  }
}

TEST(SnapshotTest, ChecksAStateBeforeItIsWritten) {
  const SnapshotModel model = SmallSnapshotModel();
  const auto refuses = [&](const std::function<void(SequenceState&)>& spoil) {
    SequenceState state = RandomState(model, 8);
    spoil(state);
    const absl::Status status = EncodeSnapshot(state, model).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return status.code() == absl::StatusCode::kInvalidArgument;
  };
  using State = SequenceState;
  EXPECT_TRUE(refuses([](State& s) { s.position = -1; }));
  EXPECT_TRUE(refuses([](State& s) {
    s.position = std::numeric_limits<int64_t>::max();
    s.pending = 1;
  }));
  EXPECT_TRUE(refuses([](State& s) { s = {}; }));
  EXPECT_TRUE(refuses([](State& s) { s.pending = 40; }));
  EXPECT_TRUE(refuses([](State& s) { s.pending = -1; }));
  EXPECT_TRUE(refuses([](State& s) { s.logits.pop_back(); }));
  EXPECT_TRUE(refuses([](State& s) { s.state.pop_back(); }));
  EXPECT_TRUE(refuses([](State& s) { s.text.cut = "1234"; }));
  EXPECT_TRUE(refuses([](State& s) { s.text.tail = std::string(1024, 'x'); }));
  EXPECT_TRUE(refuses([](State& s) { s.sampler.draws = -1; }));
  EXPECT_TRUE(refuses([](State& s) { s.sampler.recent.resize(8193); }));
  EXPECT_TRUE(refuses([](State& s) { s.sampler.recent = {{40, false}}; }));
  EXPECT_TRUE(refuses([](State& s) { s.sampler.counts = {{40, 1, 0}}; }));
  EXPECT_TRUE(refuses([](State& s) { s.sampler.counts = {{1, -1, 1}}; }));
  EXPECT_TRUE(refuses([](State& s) {
    s.sampler.counts = {{1, 1 << 30, 1 << 30}};
  }));
  EXPECT_TRUE(refuses([](State& s) {
    s.sampler.counts = {{2, 1, 0}, {1, 1, 0}};
  }));
  EXPECT_TRUE(refuses([](State& s) {
    s.position = 1;
    s.pending.reset();
    s.sampler.draws = 0;
    s.sampler.counts = {{1, 2, 0}};
  }));
}

TEST(SnapshotModelTest, NamesKindAndShapes) {
  ModelConfig config = test_support::TinyConfig();
  const SnapshotModel model = MakeSnapshotModel(config, "0123");
  EXPECT_EQ(model.fingerprint, "0123");
  EXPECT_EQ(model.vocab, config.vocab_size);
  EXPECT_EQ(model.state_bytes, config.state_layout().slot_bytes());
  EXPECT_EQ(model.layout,
            "hierarchical f32 layers=2 short=2x16 attention=2x4x12 "
            "long=16x16 base=4 levels=3");
  config.long_conv_kind = LongConvKind::kExplicit;
  EXPECT_EQ(MakeSnapshotModel(config, "0123").layout,
            "explicit f32 layers=2 short=2x16 attention=2x4x12 long=32x16");
}

TEST(SnapshotModelTest, RefusesAStateOfAnotherAttentionReplay) {
  ModelConfig config = test_support::TinyConfig();
  const SnapshotModel off = MakeSnapshotModel(config, "0123");
  ASSERT_TRUE(config.SetAttentionReplay(8).ok());
  const SnapshotModel eight = MakeSnapshotModel(config, "0123");
  ASSERT_TRUE(config.SetAttentionReplay(16).ok());
  const SnapshotModel sixteen = MakeSnapshotModel(config, "0123");
  EXPECT_EQ(eight.layout, off.layout + " replay=8");
  const auto refuse = [](const SnapshotModel& from, const SnapshotModel& to) {
    const absl::Status status =
        DecodeSnapshot(Encoded(RandomState(from, 3), from), to).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(status.message(),
                AllOf(HasSubstr(from.layout), HasSubstr(to.layout)));
  };
  refuse(off, eight);
  refuse(eight, off);
  refuse(eight, sixteen);
}

TEST(SnapshotModelTest, BoundsEverySnapshot) {
  const SnapshotModel model = SmallSnapshotModel();
  SequenceState state = RandomState(model, 11);
  state.position = 100000;
  state.sampler.counts.clear();
  std::mt19937 random(11);
  for (int32_t token = 0; token < model.vocab; ++token) {
    state.sampler.counts.push_back({token, static_cast<int32_t>(random() % 999),
                                    static_cast<int32_t>(random() % 999)});
  }
  while (state.sampler.recent.size() < kMaxRecentTokens) {
    state.sampler.recent.push_back(
        {static_cast<int32_t>(random() % 40), random() % 2 == 0});
  }
  EXPECT_LE(Encoded(state, model).size(), MaxSnapshotBytes(model));
}

}  // namespace
}  // namespace chela
