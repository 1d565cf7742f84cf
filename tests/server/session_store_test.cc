// Sessions with a store: spilling, restarts, and a store that fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/server/metrics_page.h"
#include "tests/server/session_rig.h"

namespace chela {
namespace {

using test_support::IsState;
using test_support::SessionTest;
using test_support::ValueOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Code = absl::StatusCode;

using SessionStoreTest = SessionTest;
INSTANTIATE_TEST_SUITE_P(Store, SessionStoreTest, ::testing::Values(true));

TEST_P(SessionStoreTest, SpillsTheLeastRecentlyUsedAndReadsItAgain) {
  options_.memory_bytes = 1;  // Nothing stays.
  Open();
  Create("a");
  Turn("a", 1, "c");
  Turn("a", 2);
  EXPECT_FALSE(registry_->Get("a")->in_memory);
  EXPECT_EQ(
      ValueOf(metrics_.Render(), "chela_sessions{model=\"m\",tier=\"store\"}"),
      1);
  EXPECT_EQ(medium_.reads, 1);  // The second turn began with the first state.
  EXPECT_THAT(Start("a"), IsState(State(2)));
  EXPECT_THAT(*registry_->Read("a", {{}, "c"}), IsState(State(1)));
  EXPECT_THAT(registry_->Fork("a", {}, {"b", "", {}})->tokens,
              State(2)->tokens());
  EXPECT_THAT(Start("b"), IsState(State(2)));
}

TEST_P(SessionStoreTest, ServesFromMemoryWhatFits) {
  Create("a");
  Turn("a", 1);
  Turn("a", 2);
  EXPECT_THAT(Start("a", 1), IsState(State(1)));
  EXPECT_TRUE(registry_->Fork("a", {}, {"b", "", {}}).ok());
  Turn("b", 3);
  EXPECT_EQ(medium_.reads, 0);
}

TEST_P(SessionStoreTest, IsThereAfterARestart) {
  Create("empty", "alice");
  Create("a", "bob");
  Turn("a", 1, "c");
  Turn("a", 2);
  Turn("a", 3);
  const SessionInfo before = *registry_->Get("a");
  now_ += std::chrono::minutes(10);
  Open();
  EXPECT_EQ(medium_.reads, 0);  // No tensor is read for a list.
  EXPECT_EQ(registry_->List("", 0, "").sessions.size(), 2u);
  const SessionInfo after = *registry_->Get("a");
  EXPECT_EQ(after.user, "bob");
  EXPECT_EQ(after.tokens, before.tokens);
  EXPECT_EQ(after.revisions, before.revisions);
  EXPECT_EQ(after.checkpoints, before.checkpoints);
  EXPECT_EQ(after.state_bytes, before.state_bytes);
  EXPECT_EQ(after.expires, before.expires);
  EXPECT_FALSE(after.in_memory);
  EXPECT_THAT(Start("a"), IsState(State(3)));
  EXPECT_THAT(Start("a", 2), IsState(State(2)));
  EXPECT_THAT(*registry_->Read("a", {{}, "c"}), IsState(State(1)));
  EXPECT_EQ(Start("empty"), nullptr);
  EXPECT_EQ(Turn("a", 4), 4);
  options_.max_sessions_per_user = 1;
  Open();
  EXPECT_EQ(registry_->Create({"", "bob", {}}).status().code(),
            Code::kResourceExhausted);
}

TEST_P(SessionStoreTest, StoresNoMoreThanIsNamed) {
  Create("a");
  for (int i = 1; i <= 20; ++i) Turn("a", i, i == 5 || i == 9 ? "c" : "");
  EXPECT_EQ(medium_.snapshots.size(), 3u);  // two revisions, one checkpoint
  Turn("a", 21);
  registry_->UndoTurn("a", 21);
  EXPECT_EQ(medium_.snapshots.size(), 2u);
  ASSERT_TRUE(registry_->Delete("a").ok());
  EXPECT_TRUE(medium_.snapshots.empty());
  EXPECT_TRUE(medium_.records.empty());
}

TEST_P(SessionStoreTest, AcknowledgesNothingThatWasNotStored) {
  Create("a");
  Turn("a", 1, "c");
  Turn("a", 2);
  for (const Code code : {Code::kResourceExhausted, Code::kUnavailable}) {
    for (const bool happens : {false, true}) {
      medium_.write_status = absl::Status(code, "the medium says so");
      medium_.writes_happen = happens;
      const int64_t newest = registry_->Get("a")->revision;
      auto turn = registry_->BeginTurn("a", std::nullopt);
      ASSERT_TRUE(turn.ok());
      EXPECT_EQ(turn->Commit(State(3), "c").status().code(), code);
      EXPECT_EQ(registry_->Rewind("a", {{}, "c"}).status().code(), code);
      EXPECT_EQ(registry_->Create({"b", "", {}}).status().code(), code);
      EXPECT_EQ(registry_->Fork("a", {}, {"b", "", {}}).status().code(), code);
      EXPECT_EQ(registry_->Import(State(4), {"b", "", {}}).status().code(),
                code);
      registry_->UndoTurn("a", newest);
      EXPECT_EQ(StartCode("b"), Code::kNotFound);
      EXPECT_EQ(registry_->Get("a")->revision, newest);
      EXPECT_THAT(Start("a"), IsState(State(2)));
      EXPECT_THAT(*registry_->Read("a", {{}, "c"}), IsState(State(1)));
    }
  }
  // Better times: the registry's word stands, in the store, too.
  medium_.write_status = absl::OkStatus();
  registry_->Sweep();
  EXPECT_EQ(medium_.snapshots.size(), 2u);
  Open();
  EXPECT_THAT(Start("a"), IsState(State(2)));
  EXPECT_THAT(*registry_->Read("a", {{}, "c"}), IsState(State(1)));
  // Numbers that the store may have seen are not used again.
  EXPECT_GT(Turn("a", 5), 6);
}

TEST_P(SessionStoreTest, LosesNoOlderStateToAWriteOfUnknownEnd) {
  Create("a");
  Turn("a", 1);
  Turn("a", 2);
  medium_.write_status = absl::UnavailableError("gone");
  medium_.writes_happen = true;
  {
    auto turn = registry_->BeginTurn("a", 1);  // would discard 2
    ASSERT_TRUE(turn.ok());
    EXPECT_FALSE(turn->Commit(State(3), "").ok());
  }
  options_.memory_bytes = 1;
  medium_.write_status = absl::OkStatus();
  registry_->Sweep();
  Open();
  EXPECT_THAT(Start("a"), IsState(State(2)));
  EXPECT_THAT(Start("a", 1), IsState(State(1)));
}

TEST_P(SessionStoreTest, DropsLaterWhatCouldNotBeDropped) {
  Create("a");
  Turn("a", 1);
  Turn("a", 2);
  medium_.drop_status = absl::UnavailableError("gone");
  Turn("a", 3);
  EXPECT_EQ(medium_.snapshots.size(), 3u);
  medium_.drop_status = absl::OkStatus();
  registry_->Sweep();
  EXPECT_EQ(medium_.snapshots.size(), 2u);
  medium_.delete_status = absl::UnavailableError("gone");
  EXPECT_EQ(registry_->Delete("a").code(), Code::kUnavailable);
  EXPECT_THAT(Start("a"), IsState(State(3)));
  now_ += std::chrono::hours(2);
  registry_->Sweep();
  EXPECT_EQ(StartCode("a"), Code::kNotFound);
  medium_.delete_status = absl::OkStatus();
  registry_->Sweep();
  EXPECT_TRUE(medium_.records.empty());
}

TEST_P(SessionStoreTest, SaysWhatIsWrongWithASnapshot) {
  options_.memory_bytes = 1;
  Open();
  Create("a");
  Turn("a", 1);
  Turn("a", 2);
  medium_.read_status = absl::UnavailableError("gone");
  EXPECT_EQ(StartCode("a"), Code::kUnavailable);
  medium_.read_status = absl::OkStatus();
  std::string& bytes = medium_.snapshots.at({"a", 2});
  const std::string whole = bytes;
  bytes[bytes.size() / 2] ^= 1;
  EXPECT_EQ(StartCode("a"), Code::kDataLoss);
  EXPECT_EQ(registry_->Fork("a", {}, {"b", "", {}}).status().code(),
            Code::kDataLoss);
  bytes = medium_.snapshots.at({"a", 1});  // whole, but another one
  EXPECT_EQ(StartCode("a"), Code::kDataLoss);
  medium_.snapshots.erase({"a", 2});
  EXPECT_EQ(StartCode("a"), Code::kDataLoss);
  // The one before is untouched and can be gone on from.
  EXPECT_EQ(Turn("a", 3, "", 1), 3);
  EXPECT_THAT(Start("a"), IsState(State(3)));
}

TEST_P(SessionStoreTest, ServesNoSessionOfAnotherModel) {
  Create("a");
  Turn("a", 1);
  options_.model.fingerprint = "fedcba9876543210";
  Open();
  EXPECT_EQ(registry_->List("", 0, "").sessions.size(), 1u);
  const absl::Status status = registry_->BeginTurn("a", std::nullopt).status();
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("fedcba9876543210"));
  EXPECT_THAT(status.message(), HasSubstr("0123456789abcdef"));
  options_.model = test_support::SmallSnapshotModel();
  Open();
  EXPECT_THAT(Start("a"), IsState(State(1)));
}

TEST_P(SessionStoreTest, ServesTheOthersBesideADamagedSession) {
  Create("a");
  Create("b");
  Turn("b", 1);
  medium_.records["a"] = "{";
  Open();
  ASSERT_EQ(registry_->warnings().size(), 1u);
  EXPECT_THAT(registry_->warnings()[0], HasSubstr("session a"));
  EXPECT_EQ(StartCode("a"), Code::kDataLoss);
  EXPECT_EQ(registry_->Get("a").status().code(), Code::kDataLoss);
  EXPECT_EQ(registry_->Create({"a", "", {}}).status().code(),
            Code::kAlreadyExists);
  EXPECT_THAT(Start("b"), IsState(State(1)));
  EXPECT_EQ(registry_->List("", 0, "").sessions.size(), 1u);
  EXPECT_TRUE(registry_->Delete("a").ok());
  Create("a");
}

SessionRecord SomeRecord() {
  SessionRecord record;
  record.id = "a";
  record.user = "\"quoted\" \xc3\xa4\n";
  record.ttl_seconds = 5;
  record.created_ms = 123456789012345;
  record.used_ms = record.created_ms + 1;
  record.next_revision = 9;
  record.next_key = 5;
  record.revisions = {{8, {4, 100, ~uint64_t{0}, 77}}, {6, {0, 0, 0, 0}}};
  record.checkpoints["x"] = {3, 50, 1, 66};
  return record;
}

TEST(SessionRecordTest, ComesBackFromItsJson) {
  const SessionRecord record = SomeRecord();
  const auto back = ParseSessionRecord(record.ToJson(), "a");
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, record);
  EXPECT_THAT(record.Keys(), ElementsAre(3, 4));
}

TEST(SessionRecordTest, RefusesWhatIsNone) {
  const std::string json = SomeRecord().ToJson();
  const auto refuses = [&json](const std::string& from, const std::string& to) {
    std::string changed = json;
    const size_t at = changed.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    changed.replace(at, from.size(), to);
    return ParseSessionRecord(changed, "a").status().code() == Code::kDataLoss;
  };
  EXPECT_TRUE(refuses("\"id\": \"a\"", "\"id\": \"b\""));
  EXPECT_TRUE(refuses("\"version\": 1", "\"version\": 2"));
  EXPECT_TRUE(refuses("\"next_revision\": 9", "\"next_revision\": 8"));
  EXPECT_TRUE(refuses("\"revision\": 6", "\"revision\": 8"));
  EXPECT_TRUE(refuses("\"key\": 4", "\"key\": 5"));
  EXPECT_TRUE(refuses("\"key\": 4", "\"key\": -1"));
  EXPECT_TRUE(refuses("\"name\": \"x\"", "\"name\": \"x/y\""));
  EXPECT_TRUE(refuses("ffffffffffffffff", "fffffffffffffffg"));
  EXPECT_TRUE(refuses("\"user\"", "\"loser\""));
  EXPECT_TRUE(refuses("\"revisions\": [", "\"revisions\": [3,"));
  for (size_t size = 0; size + 1 < json.size(); ++size) {
    ASSERT_EQ(ParseSessionRecord(json.substr(0, size), "a").status().code(),
              Code::kDataLoss);
  }
}

}  // namespace
}  // namespace chela
