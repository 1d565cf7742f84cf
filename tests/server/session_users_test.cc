// What each user may have: sessions, and bytes of their states.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "server/session/snapshot.h"
#include "server/session/state_cache.h"
#include "tests/server/session_rig.h"

namespace chela {
namespace {

using test_support::IsState;
using test_support::SessionTest;
using ::testing::HasSubstr;
using Code = absl::StatusCode;

class SessionUsersTest : public SessionTest {
 protected:
  // The most bytes that a turn may add.
  int64_t Most() const {
    return has_store() ? static_cast<int64_t>(MaxSnapshotBytes(options_.model))
                       : MaxHostBytes(options_.model);
  }
  int64_t BytesOf(const std::string& user) {
    int64_t bytes = 0;
    for (const SessionInfo& info : registry_->List(user, 0, "").sessions) {
      bytes += info.state_bytes;
    }
    return bytes;
  }
  void Limit(int64_t bytes) {
    options_.max_bytes_per_user = bytes;
    Open();
  }
};

INSTANTIATE_TEST_SUITE_P(Memory, SessionUsersTest, ::testing::Values(false));
INSTANTIATE_TEST_SUITE_P(Store, SessionUsersTest, ::testing::Values(true));
using StoredUsersTest = SessionUsersTest;
INSTANTIATE_TEST_SUITE_P(Store, StoredUsersTest, ::testing::Values(true));

TEST_P(SessionUsersTest, BoundsTheSessionsOfAllAndOfEachUser) {
  options_.max_sessions = 3;
  options_.max_sessions_per_user = 2;
  Open();
  const auto code = [this](const std::string& id, const std::string& user) {
    return registry_->Create({id, user, {}}).status().code();
  };
  EXPECT_EQ(code("a", "u"), Code::kOk);
  EXPECT_EQ(registry_->Fork("a", {}, {"b", "u", {}}).status().code(),
            Code::kOk);
  EXPECT_EQ(code("c", "u"), Code::kResourceExhausted);
  EXPECT_EQ(registry_->Import(State(1), {"c", "u", {}}).status().code(),
            Code::kResourceExhausted);
  EXPECT_EQ(code("c", "v"), Code::kOk);
  EXPECT_EQ(code("d", "w"), Code::kResourceExhausted);
  EXPECT_TRUE(registry_->Delete("a").ok());
  EXPECT_EQ(code("d", "u"), Code::kOk);
}

TEST_P(SessionUsersTest, BoundsTheBytesOfEachUser) {
  Create("a", "u");
  Turn("a", 1);
  const int64_t limit = Most() + 5 * BytesOf("u");
  ASSERT_TRUE(registry_->Delete("a").ok());
  Limit(limit);
  Create("a", "u");
  Create("b", "v");
  // Two revisions stay; the third turn has to fit beside them.
  int64_t last = 0;
  for (; last < 10; ++last) ASSERT_EQ(Turn("a", last + 1), last + 1);
  // Checkpoints stay, too.
  while (BytesOf("u") + Most() <= limit) {
    ASSERT_EQ(Turn("a", last + 1, absl::StrCat("c", last + 1)), last + 1);
    ++last;
  }
  ASSERT_GT(last, 10);
  const absl::Status full = registry_->BeginTurn("a", std::nullopt).status();
  EXPECT_EQ(full.code(), Code::kResourceExhausted);
  for (const std::string& part :
       {std::string("user \"u\""), std::to_string(BytesOf("u")),
        std::to_string(Most()), std::to_string(limit)}) {
    EXPECT_THAT(full.message(), HasSubstr(part));
  }
  // Nothing is lost by it, others go on, and it can be read and given up.
  EXPECT_THAT(*registry_->Read("a", {}), IsState(State(last)));
  EXPECT_EQ(Turn("b", 1), 1);
  EXPECT_TRUE(registry_->Rewind("a", {{}, "c11"}).ok());
  EXPECT_TRUE(registry_->Delete("a").ok());
  Create("a", "u");
  EXPECT_EQ(Turn("a", 20), 1);
}

TEST_P(SessionUsersTest, ForksAndImportsAreBytesOfWhoMadeThem) {
  Create("a", "u");
  Turn("a", 1);
  const int64_t one = BytesOf("u");
  ASSERT_GT(one, 0);
  options_.max_bytes_per_user = 2 * one;
  Open();
  if (!has_store()) {  // It began anew.
    ASSERT_TRUE(registry_->Import(State(1), {"a", "u", {}}).ok());
  }
  EXPECT_TRUE(registry_->Fork("a", {}, {"b", "u", {}}).ok());
  EXPECT_EQ(BytesOf("u"), 2 * one);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(registry_->Fork("a", {}, {"c", "u", {}}).status().code(),
              Code::kResourceExhausted);
    EXPECT_EQ(registry_->Import(State(1), {"c", "u", {}}).status().code(),
              Code::kResourceExhausted);
  }
  EXPECT_EQ(registry_->Get("c").status().code(), Code::kNotFound);
  EXPECT_TRUE(registry_->Fork("a", {}, {"c", "v", {}}).ok());
  EXPECT_TRUE(registry_->Create({"empty", "u", {}}).ok());
  EXPECT_TRUE(registry_->Delete("b").ok());
  EXPECT_TRUE(registry_->Import(State(1), {"b", "u", {}}).ok());
}

TEST_P(SessionUsersTest, CountsTurnsThatRunWithTheMostTheyMayAdd) {
  Limit(2 * Most());
  for (const char* id : {"a", "b", "c"}) Create(id, "u");
  {
    const auto first = registry_->BeginTurn("a", std::nullopt);
    const auto second = registry_->BeginTurn("b", std::nullopt);
    ASSERT_TRUE(first.ok() && second.ok());
    EXPECT_EQ(StartCode("c"), Code::kResourceExhausted);
  }
  // They ended without a state.
  EXPECT_EQ(StartCode("c"), Code::kOk);
  // A turn that was taken back, and one that the store refused, leave nothing.
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const int64_t revision = Turn("a", seed);
    ASSERT_GT(revision, 0);
    ASSERT_TRUE(registry_->UndoTurn("a", revision));
    if (!has_store()) continue;
    medium_.write_status = absl::UnavailableError("gone");
    auto turn = registry_->BeginTurn("a", std::nullopt);
    ASSERT_TRUE(turn.ok()) << turn.status();
    EXPECT_FALSE(turn->Commit(State(seed), "").ok());
    medium_.write_status = absl::OkStatus();
  }
  EXPECT_EQ(BytesOf("u"), 0);
}

TEST_P(StoredUsersTest, ARestartCountsWhatIsStored) {
  Create("a", "u");
  Turn("a", 1);
  Turn("a", 2);
  Limit(BytesOf("u") + Most());
  EXPECT_EQ(StartCode("a"), Code::kOk);
  Limit(options_.max_bytes_per_user - 1);
  EXPECT_EQ(StartCode("a"), Code::kResourceExhausted);
}

}  // namespace
}  // namespace chela
