// Snapshots that are damaged, forged, or of another version.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <functional>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "server/session/snapshot.h"
#include "server/session/snapshot_header.h"
#include "server/session/snapshot_part.h"
#include "tests/server/session_states.h"

namespace chela {
namespace {

using test_support::Encoded;
using test_support::RandomState;
using test_support::SmallSnapshotModel;
using ::testing::AllOf;
using ::testing::HasSubstr;

absl::StatusCode DecodeCode(std::string_view bytes) {
  return DecodeSnapshot(bytes, SmallSnapshotModel()).status().code();
}

TEST(SnapshotDamageTest, RefusesEveryFlippedByte) {
  const SnapshotModel model = SmallSnapshotModel();
  const std::string whole = Encoded(RandomState(model, 4), model);
  std::mt19937 random(4);
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 + random() % 255));
    ASSERT_EQ(DecodeCode(damaged), absl::StatusCode::kDataLoss) << "byte " << i;
  }
}

TEST(SnapshotDamageTest, RefusesEveryTruncationAndAnythingBehind) {
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

TEST(SnapshotDamageTest, RefusesRandomBytes) {
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

TEST(SnapshotDamageTest, BelievesNoForgedHeader) {
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

TEST(SnapshotDamageTest, SurvivesPartsThatAForgerChose) {
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

TEST(SnapshotDamageTest, UnpacksNoMoreThanTheModelHas) {
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

TEST(SnapshotDamageTest, TellsAnotherVersionFromDamage) {
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

}  // namespace
}  // namespace chela
