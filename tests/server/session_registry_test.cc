#include "server/session/session_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "tests/server/metrics_page.h"
#include "tests/server/session_rig.h"

namespace chela {
namespace {

using std::chrono::seconds;
using test_support::IsState;
using test_support::SessionTest;
using test_support::ValueOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Code = absl::StatusCode;

INSTANTIATE_TEST_SUITE_P(Memory, SessionTest, ::testing::Values(false));
INSTANTIATE_TEST_SUITE_P(Store, SessionTest, ::testing::Values(true));

TEST_P(SessionTest, CreatesAnEmptySession) {
  const SessionInfo info = Create("a", "alice");
  EXPECT_EQ(info.id, "a");
  EXPECT_EQ(info.user, "alice");
  EXPECT_EQ(info.tokens, 0);
  EXPECT_EQ(info.revision, 0);
  EXPECT_THAT(info.revisions, ElementsAre(0));
  EXPECT_EQ(info.state_bytes, 0);
  EXPECT_EQ(info.created, now_);
  EXPECT_EQ(info.expires, now_ + std::chrono::hours(1));
  EXPECT_EQ(Start("a"), nullptr);
  EXPECT_EQ(
      registry_->Create({.id = "a", .user = "", .ttl = {}}).status().code(),
      Code::kAlreadyExists);
}

TEST_P(SessionTest, MakesIdsThatNobodyGuesses) {
  std::set<std::string> ids;
  for (int i = 0; i < 50; ++i) ids.insert(Create("").id);
  EXPECT_EQ(ids.size(), 50u);
  for (const std::string& id : ids) {
    EXPECT_THAT(id, ::testing::MatchesRegex("[0-9a-f]{32}"));
  }
}

TEST_P(SessionTest, RefusesWhatIsNoNameUserOrTtl) {
  const auto code = [this](SessionOptions options) {
    return registry_->Create(options).status().code();
  };
  for (const std::string id : {"a/b", "..\\x", "a b", "\xc3\xa4", "a\n"}) {
    EXPECT_EQ(code({id, "", {}}), Code::kInvalidArgument) << id;
    EXPECT_EQ(StartCode(id), Code::kInvalidArgument) << id;
    EXPECT_EQ(registry_->Delete(id).code(), Code::kInvalidArgument) << id;
  }
  EXPECT_EQ(code({std::string(65, 'a'), "", {}}), Code::kInvalidArgument);
  EXPECT_EQ(code({std::string(64, 'a'), "", {}}), Code::kOk);
  EXPECT_EQ(code({"", std::string(257, 'u'), {}}), Code::kInvalidArgument);
  EXPECT_EQ(code({"", "\xff", {}}), Code::kInvalidArgument);
  EXPECT_EQ(code({"", "", seconds(-1)}), Code::kInvalidArgument);
  EXPECT_EQ(code({"", "", seconds(int64_t{1} << 60)}), Code::kInvalidArgument);
  EXPECT_EQ(StartCode(""), Code::kInvalidArgument);
  EXPECT_EQ(StartCode("nobody"), Code::kNotFound);
}

TEST_P(SessionTest, NumbersRevisionsAndKeepsTheLastTwo) {
  Create("a");
  EXPECT_EQ(Turn("a", 1), 1);
  EXPECT_THAT(registry_->Get("a")->revisions, ElementsAre(1, 0));
  EXPECT_EQ(Turn("a", 2), 2);
  EXPECT_EQ(Turn("a", 3, "", 2), 3);
  const SessionInfo info = *registry_->Get("a");
  EXPECT_EQ(info.revision, 3);
  EXPECT_EQ(info.tokens, State(3)->tokens());
  EXPECT_THAT(info.revisions, ElementsAre(3, 2));
  EXPECT_GT(info.state_bytes, 0);
  EXPECT_THAT(Start("a"), IsState(State(3)));
  EXPECT_THAT(Start("a", 3), IsState(State(3)));
  EXPECT_THAT(Start("a", 2), IsState(State(2)));
  for (const int64_t other : {-1, 0, 1, 4}) {
    const absl::Status status = registry_->BeginTurn("a", other).status();
    EXPECT_EQ(status.code(), Code::kFailedPrecondition);
    EXPECT_THAT(status.message(), HasSubstr("3 and 2"));
  }
}

TEST_P(SessionTest, DiscardsTheNewestForATurnFromTheOneBefore) {
  Create("a");
  Turn("a", 1);
  EXPECT_EQ(Turn("a", 2, "", 0), 2);  // anew from the empty session
  EXPECT_THAT(registry_->Get("a")->revisions, ElementsAre(2, 0));
  EXPECT_EQ(Turn("a", 3), 3);
  EXPECT_EQ(Turn("a", 4, "", 2), 4);
  EXPECT_THAT(registry_->Get("a")->revisions, ElementsAre(4, 2));
  EXPECT_EQ(StartCode("a", 3), Code::kFailedPrecondition);
  EXPECT_THAT(Start("a", 2), IsState(State(2)));
}

TEST_P(SessionTest, RollsBackATurnThatIsNotCommitted) {
  Create("a");
  Turn("a", 1);
  Turn("a", 2);
  { const auto turn = registry_->BeginTurn("a", 1); }
  EXPECT_THAT(registry_->Get("a")->revisions, ElementsAre(2, 1));
  EXPECT_THAT(Start("a"), IsState(State(2)));
  // Nor one whose state is none.
  absl::StatusOr<SessionTurn> turn = registry_->BeginTurn("a", std::nullopt);
  ASSERT_TRUE(turn.ok());
  EXPECT_EQ(turn->Commit(std::make_shared<SequenceState>(), "").status().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(Turn("a", 3), 3);
}

TEST_P(SessionTest, LetsOneCallAtATimeChangeASession) {
  Create("a");
  Turn("a", 1);
  {
    const auto turn = registry_->BeginTurn("a", std::nullopt);
    ASSERT_TRUE(turn.ok());
    EXPECT_EQ(StartCode("a"), Code::kAborted);
    EXPECT_EQ(registry_->Delete("a").code(), Code::kAborted);
    EXPECT_EQ(registry_->Rewind("a", {}).status().code(), Code::kAborted);
    // What changes nothing goes on.
    EXPECT_TRUE(registry_->Get("a").ok());
    EXPECT_TRUE(registry_->Read("a", {}).ok());
    EXPECT_TRUE(registry_->Fork("a", {}, {"b", "", {}}).ok());
  }
  EXPECT_EQ(StartCode("a"), Code::kOk);
  EXPECT_TRUE(registry_->Delete("a").ok());
  EXPECT_EQ(registry_->Delete("a").code(), Code::kNotFound);
  EXPECT_THAT(Start("b"), IsState(State(1)));
}

TEST_P(SessionTest, UndoesATurnThatNobodySaw) {
  Create("a");
  Turn("a", 1, "c");
  Turn("a", 2);
  EXPECT_EQ(Turn("a", 3, "c"), 3);
  registry_->UndoTurn("a", 2);  // Not the newest: nothing happens.
  EXPECT_EQ(registry_->Get("a")->revision, 3);
  registry_->UndoTurn("a", 3);
  EXPECT_EQ(registry_->Get("a")->revision, 2);
  EXPECT_THAT(Start("a"), IsState(State(2)));
  EXPECT_THAT(*registry_->Read("a", {{}, "c"}), IsState(State(1)));
  EXPECT_EQ(Turn("a", 4), 4);  // No number comes twice.
  EXPECT_EQ(Turn("a", 5, "d"), 5);
  registry_->UndoTurn("a", 5);
  EXPECT_THAT(registry_->Get("a")->checkpoints, ElementsAre("c"));
  registry_->UndoTurn("a", 4);  // Once only.
  EXPECT_EQ(registry_->Get("a")->revision, 4);
  registry_->UndoTurn("nobody", 1);
}

TEST_P(SessionTest, DoesNotUndoATurnThatWasUsed) {
  Create("a");
  Turn("a", 1, "c");
  Turn("a", 2, "c");
  Start("a");  // Somebody looked at it, even without a commit.
  registry_->UndoTurn("a", 2);
  EXPECT_EQ(registry_->Get("a")->revision, 2);
  Turn("a", 3);
  ASSERT_TRUE(registry_->Rewind("a", {2, ""}).ok());
  registry_->UndoTurn("a", 3);
  registry_->UndoTurn("a", 4);
  EXPECT_EQ(registry_->Get("a")->revision, 4);
}

TEST_P(SessionTest, ListsSessionsInPages) {
  for (const std::string id : {"d", "b", "a", "c", "e"}) {
    Create(id, id < "c" ? "alice" : "bob");
  }
  const auto ids = [](const SessionPage& page) {
    std::vector<std::string> found;
    for (const SessionInfo& info : page.sessions) found.push_back(info.id);
    return found;
  };
  SessionPage page = registry_->List("", 2, "");
  EXPECT_THAT(ids(page), ElementsAre("a", "b"));
  page = registry_->List("", 2, page.next_page_token);
  EXPECT_THAT(ids(page), ElementsAre("c", "d"));
  page = registry_->List("", 2, page.next_page_token);
  EXPECT_THAT(ids(page), ElementsAre("e"));
  EXPECT_EQ(page.next_page_token, "");
  EXPECT_THAT(ids(registry_->List("bob", 0, "")), ElementsAre("c", "d", "e"));
  EXPECT_THAT(ids(registry_->List("carol", 0, "")), IsEmpty());
  EXPECT_EQ(registry_->List("", 5, "").next_page_token, "");
}

TEST_P(SessionTest, ReportsOperationsAndTiers) {
  Create("a");
  Turn("a", 1);
  StartCode("nobody");
  Start("a");  // Rolled back: no turn.
  registry_->List("", 0, "");
  const auto count = [this](const std::string& op, const std::string& result) {
    return ValueOf(metrics_.Render(),
                   "chela_session_operations_total{model=\"m\",op=\"" + op +
                       "\",result=\"" + result + "\"}");
  };
  EXPECT_EQ(count("create", "ok"), 1);
  EXPECT_EQ(count("turn", "ok"), 1);
  EXPECT_EQ(count("turn", "not_found"), 1);
  EXPECT_EQ(count("list", "ok"), 1);
  const auto tier = [this](const std::string& name) {
    return ValueOf(metrics_.Render(),
                   "chela_sessions{model=\"m\",tier=\"" + name + "\"}");
  };
  EXPECT_EQ(tier("memory"), 1);
  EXPECT_EQ(tier("store"), 0);
  ASSERT_TRUE(registry_->Delete("a").ok());
  EXPECT_EQ(tier("memory"), 0);
}

}  // namespace
}  // namespace chela
