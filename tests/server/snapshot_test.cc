#include "server/session/snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "server/session/snapshot_header.h"
#include "server/session/snapshot_part.h"
#include "tests/server/session_states.h"
#include "tests/support/tiny_model.h"

namespace chela {
namespace {

using test_support::IsState;
using test_support::RandomState;
using test_support::RandomStatePtr;
using test_support::SameState;
using test_support::SmallSnapshotModel;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Encoded(const SequenceState& state, const SnapshotModel& model) {
  const absl::StatusOr<std::string> bytes = EncodeSnapshot(state, model);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.ok() ? *bytes : "";
}

absl::StatusCode DecodeCode(std::string_view bytes) {
  return DecodeSnapshot(bytes, SmallSnapshotModel()).status().code();
}

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

TEST(SnapshotTest, RefusesEveryFlippedByte) {
  const SnapshotModel model = SmallSnapshotModel();
  const std::string whole = Encoded(RandomState(model, 4), model);
  std::mt19937 random(4);
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 + random() % 255));
    ASSERT_EQ(DecodeCode(damaged), absl::StatusCode::kDataLoss) << "byte " << i;
  }
}

TEST(SnapshotTest, RefusesEveryTruncationAndAnythingBehind) {
  const SnapshotModel model = SmallSnapshotModel();
  const std::string whole = Encoded(RandomState(model, 5), model);
  for (size_t size = 0; size < whole.size(); ++size) {
    // A copy of its own size, so that a sanitizer sees a read past the end.
    const std::vector<char> cut(whole.begin(), whole.begin() + size);
    ASSERT_EQ(DecodeCode({cut.data(), size}), absl::StatusCode::kDataLoss)
        << size << " bytes";
  }
  EXPECT_EQ(DecodeCode(whole + '\0'), absl::StatusCode::kDataLoss);
  EXPECT_EQ(DecodeCode(whole + whole), absl::StatusCode::kDataLoss);
}

TEST(SnapshotTest, RefusesRandomBytes) {
  std::mt19937 random(6);
  const std::string whole =
      Encoded(RandomState(SmallSnapshotModel(), 6), SmallSnapshotModel());
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 400, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    // Half of them behind an intact beginning.
    if (round % 2 == 0) bytes = whole.substr(0, random() % 64) + bytes;
    ASSERT_EQ(DecodeCode(bytes), absl::StatusCode::kDataLoss);
  }
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

// A snapshot whose checksums are right, written by someone who lies.
std::string Forged(const std::function<void(SnapshotHeader&)>& lie) {
  const SnapshotModel model = SmallSnapshotModel();
  const std::string bytes = Encoded(RandomState(model, 9), model);
  const absl::StatusOr<SnapshotHead> head = ReadSnapshotHead(bytes);
  EXPECT_TRUE(head.ok()) << head.status();
  SnapshotHeader header = head->header;
  lie(header);
  std::string forged = WriteSnapshotHead(header);
  for (const std::string_view part : head->parts) forged += part;
  return forged;
}

TEST(SnapshotTest, BelievesNoForgedHeader) {
  using Header = SnapshotHeader;
  ASSERT_EQ(DecodeCode(Forged([](Header&) {})), absl::StatusCode::kOk);
  const std::vector<std::function<void(Header&)>> lies = {
      [](Header& h) { h.position = -5; },
      [](Header& h) { h.position = std::numeric_limits<int64_t>::max(); },
      [](Header& h) { h.pending = 40; },
      [](Header& h) { h.pending = -2; },
      [](Header& h) { h.draws = -1; },
      [](Header& h) { h.counts = 0xffffffff; },
      [](Header& h) { h.counts += 1; },
      [](Header& h) { h.recent = 0xffffffff; },
      [](Header& h) { h.cut_bytes = 4; },
      [](Header& h) { h.tail_bytes = 0xffffffff; },
      // What would be petabytes, or wrap around.
      [](Header& h) { h.parts[kTextPart].raw_bytes = ~uint64_t{0}; },
      [](Header& h) { h.parts[kLogitsPart].raw_bytes = uint64_t{1} << 60; },
      [](Header& h) { h.parts[kStatePart].raw_bytes = uint64_t{1} << 50; },
      [](Header& h) { h.parts[kStatePart].raw_bytes -= 4; },
      [](Header& h) { h.parts[kStatePart].stored_bytes = ~uint64_t{0}; },
      [](Header& h) { h.parts[kStatePart].codec = SnapshotCodec::kZstd; },
      [](Header& h) { h.parts[kTextPart].codec = SnapshotCodec(7); },
  };
  for (size_t i = 0; i < lies.size(); ++i) {
    EXPECT_EQ(DecodeCode(Forged(lies[i])), absl::StatusCode::kDataLoss)
        << "lie " << i;
  }
}

TEST(SnapshotTest, SurvivesPartsThatAForgerChose) {
  const SnapshotModel model = SmallSnapshotModel();
  const std::string bytes = Encoded(RandomState(model, 12), model);
  const absl::StatusOr<SnapshotHead> head = ReadSnapshotHead(bytes);
  ASSERT_TRUE(head.ok());
  std::mt19937 random(12);
  int refused = 0;
  for (int round = 0; round < 4000; ++round) {
    SnapshotHeader header = head->header;
    std::string parts;
    for (size_t i = 0; i < head->parts.size(); ++i) {
      std::string part(head->parts[i]);
      part[random() % part.size()] ^= static_cast<char>(1 << random() % 8);
      header.parts[i].checksum = XXH64(part.data(), part.size(), 0);
      parts += part;
    }
    const auto state = DecodeSnapshot(WriteSnapshotHead(header) + parts, model);
    if (state.ok()) {
      EXPECT_TRUE(CheckSequenceState(**state, model).ok());
    } else {
      ++refused;
      ASSERT_EQ(state.status().code(), absl::StatusCode::kDataLoss);
    }
  }
  EXPECT_GT(refused, 0);
}

TEST(SnapshotTest, UnpacksNoMoreThanTheModelHas) {
  // 64 MB of zeros in a few KB, declared as the 384 bytes that are wanted.
  const SnapshotModel model = SmallSnapshotModel();
  const std::vector<std::byte> zeros(64 << 20);
  SnapshotPart bomb;
  std::string stored;
  ASSERT_TRUE(
      CompressPart(zeros, SnapshotCodec::kZstdPlanes, bomb, stored).ok());
  const std::string bytes = Encoded(RandomState(model, 10), model);
  const absl::StatusOr<SnapshotHead> head = ReadSnapshotHead(bytes);
  ASSERT_TRUE(head.ok());
  SnapshotHeader header = head->header;
  bomb.raw_bytes = header.parts[kStatePart].raw_bytes;
  header.parts[kStatePart] = bomb;
  std::string forged = WriteSnapshotHead(header);
  forged += head->parts[kTextPart];
  forged += head->parts[kLogitsPart];
  forged += stored;
  EXPECT_EQ(DecodeCode(forged), absl::StatusCode::kDataLoss);
}

TEST(SnapshotTest, TellsAnotherVersionFromDamage) {
  // The head of a version that does not exist, as that version would write it.
  std::string bytes = Forged([](SnapshotHeader&) {});
  bytes[8] = 2;
  EXPECT_EQ(DecodeCode(bytes), absl::StatusCode::kDataLoss);
  const std::string head = WriteSnapshotHead({}, 2);
  const absl::Status status =
      DecodeSnapshot(head, SmallSnapshotModel()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("version 2"), HasSubstr("version 1")));
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
