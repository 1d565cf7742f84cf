// What every SnapshotStore promises, on the media that there are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/session/session_registry.h"
#include "tests/server/session_states.h"
#include "tests/server/store_medium.h"

namespace chela {
namespace {

using test_support::IsState;
using test_support::MakeStoreMedium;
using test_support::RandomStatePtr;
using test_support::StoreMedium;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;
using Code = absl::StatusCode;

class StoreTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    medium_ = MakeStoreMedium(GetParam());
    if (medium_ == nullptr) GTEST_SKIP() << "no " << GetParam() << " here";
    Open();
  }
  void Open() {
    store_.reset();
    auto opened = medium_->Open();
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
    auto contents = store_->Load();
    ASSERT_TRUE(contents.ok()) << contents.status();
    contents_ = *std::move(contents);
  }

  // A record of `id` that names these snapshots.
  static SessionRecord Record(const std::string& id,
                              const std::vector<int64_t>& keys) {
    SessionRecord record;
    record.id = id;
    record.user = "u\"\n";
    record.next_key = 100;
    record.next_revision = 100;
    record.revisions = {{50, State(0)}};
    for (const int64_t key : keys) {
      record.checkpoints[absl::StrCat("c", key)] = State(key);
    }
    return record;
  }
  static KeptState State(int64_t key) {
    return {key, 7, 8, static_cast<int64_t>(Bytes(key).bytes.size())};
  }
  // Any bytes: zeros, line ends, quotes among them.
  static NewSnapshot Bytes(int64_t key) {
    std::string bytes;
    for (int i = 0; i < 5000; ++i) {
      bytes.push_back(static_cast<char>(i * (key + 1)));
    }
    return {key, bytes + "\r\n\"" + std::string(3, '\0')};
  }
  absl::Status Write(const SessionRecord& record, int64_t key = 0) {
    const NewSnapshot snapshot = Bytes(key);
    return store_->Write(record, key == 0 ? nullptr : &snapshot);
  }

  std::unique_ptr<StoreMedium> medium_;
  std::unique_ptr<SnapshotStore> store_;
  SnapshotStore::Contents contents_;
};

INSTANTIATE_TEST_SUITE_P(Folder, StoreTest, ::testing::Values("folder"));
INSTANTIATE_TEST_SUITE_P(Redis, StoreTest, ::testing::Values("redis"));

TEST_P(StoreTest, BeginsEmpty) {
  EXPECT_THAT(contents_.sessions, IsEmpty());
  EXPECT_THAT(contents_.damaged, IsEmpty());
  EXPECT_EQ(store_->Read("a", State(1)).status().code(), Code::kNotFound);
  EXPECT_TRUE(store_->Delete("a").ok());
  EXPECT_TRUE(store_->Drop("a", {1}).ok());
  EXPECT_EQ(medium_->Items(), 0u);
}

TEST_P(StoreTest, KeepsRecordsAndSnapshots) {
  const std::vector<std::string> ids = {"a", ".",       "..",
                                        "-", "A.b_C-9", std::string(64, 'x')};
  std::vector<SessionRecord> records;
  for (const std::string& id : ids) {
    ASSERT_TRUE(Write(Record(id, {}), 0).ok());
    ASSERT_TRUE(Write(Record(id, {1}), 1).ok());
    ASSERT_TRUE(Write(Record(id, {1, 2}), 2).ok());
    records.push_back(Record(id, {1, 2}));
  }
  for (const bool again : {false, true}) {
    if (again) Open();
    for (const std::string& id : ids) {
      for (const int64_t key : {1, 2}) {
        const auto bytes = store_->Read(id, State(key));
        ASSERT_TRUE(bytes.ok()) << id << ": " << bytes.status();
        EXPECT_EQ(*bytes, Bytes(key).bytes);
      }
      EXPECT_EQ(store_->Read(id, State(3)).status().code(), Code::kNotFound);
    }
  }
  EXPECT_THAT(contents_.sessions,
              ::testing::UnorderedElementsAreArray(records));
}

TEST_P(StoreTest, NoticesASnapshotOfAnotherSize) {
  ASSERT_TRUE(Write(Record("a", {1}), 1).ok());
  for (const int64_t change : {-1, 1}) {
    KeptState other = State(1);
    other.bytes += change;
    EXPECT_EQ(store_->Read("a", other).status().code(), Code::kDataLoss);
  }
}

TEST_P(StoreTest, RemovesWhatIsDropped) {
  ASSERT_TRUE(Write(Record("a", {1}), 1).ok());
  ASSERT_TRUE(Write(Record("a", {2}), 2).ok());
  const size_t both = medium_->Items();
  ASSERT_TRUE(store_->Drop("a", {1, 77}).ok());
  EXPECT_EQ(medium_->Items(), both - 1);
  EXPECT_EQ(store_->Read("a", State(1)).status().code(), Code::kNotFound);
  EXPECT_TRUE(store_->Read("a", State(2)).ok());
  ASSERT_TRUE(store_->Delete("a").ok());
  EXPECT_EQ(medium_->Items(), 0u);
  Open();
  EXPECT_THAT(contents_.sessions, IsEmpty());
}

TEST_P(StoreTest, SweepsSnapshotsThatNoRecordNames) {
  ASSERT_TRUE(Write(Record("a", {1}), 1).ok());
  const size_t one = medium_->Items();
  ASSERT_TRUE(Write(Record("a", {1, 2}), 2).ok());
  ASSERT_TRUE(Write(Record("a", {1})).ok());  // and a crash before Drop
  EXPECT_EQ(medium_->Items(), one + 1);
  Open();
  EXPECT_EQ(medium_->Items(), one);
  EXPECT_THAT(contents_.sessions, UnorderedElementsAre(Record("a", {1})));
}

TEST_P(StoreTest, IsForOneServerAtATime) {
  const auto second = medium_->Open();
  EXPECT_EQ(second.status().code(), Code::kFailedPrecondition);
  EXPECT_THAT(second.status().message(), ::testing::HasSubstr("another"));
  Open();  // After the first has ended, it is free.
}

TEST_P(StoreTest, TakesManySessionsAtATime) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([this, t] {
      const std::string id = absl::StrCat("s", t);
      for (int64_t key = 1; key <= 20; ++key) {
        EXPECT_TRUE(Write(Record(id, {key}), key).ok());
        EXPECT_TRUE(store_->Read(id, State(key)).ok());
        EXPECT_TRUE(store_->Drop(id, {key - 1}).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Open();
  EXPECT_THAT(contents_.sessions, SizeIs(6));
}

// The registry on it, through a restart.
TEST_P(StoreTest, BringsSessionsThroughARestart) {
  Metrics metrics("m");
  RegistryOptions options;
  options.model = test_support::SmallSnapshotModel();
  options.memory_bytes = 1;
  std::unique_ptr<SessionRegistry> registry;
  const auto open = [&] {
    registry.reset();
    store_.reset();
    auto store = medium_->Open();
    ASSERT_TRUE(store.ok()) << store.status();
    auto opened = SessionRegistry::Open(options, *std::move(store), metrics);
    ASSERT_TRUE(opened.ok()) << opened.status();
    registry = *std::move(opened);
  };
  open();
  ASSERT_TRUE(registry->Create({"a", "alice", {}}).ok());
  for (uint64_t i = 1; i <= 5; ++i) {
    auto turn = registry->BeginTurn("a", std::nullopt);
    ASSERT_TRUE(turn.ok()) << turn.status();
    const auto state = RandomStatePtr(options.model, i);
    ASSERT_TRUE(turn->Commit(state, i == 2 ? "two" : "").ok());
  }
  const size_t items = medium_->Items();
  open();
  EXPECT_EQ(medium_->Items(), items);
  const auto state = [&](const SessionPoint& point) {
    const auto read = registry->Read("a", point);
    EXPECT_TRUE(read.ok()) << read.status();
    return read.value_or(nullptr);
  };
  EXPECT_THAT(state({}), IsState(RandomStatePtr(options.model, 5)));
  EXPECT_THAT(state({4, ""}), IsState(RandomStatePtr(options.model, 4)));
  EXPECT_THAT(state({{}, "two"}), IsState(RandomStatePtr(options.model, 2)));
  ASSERT_TRUE(registry->Delete("a").ok());
  EXPECT_EQ(medium_->Items(), 0u);
}

}  // namespace
}  // namespace chela
