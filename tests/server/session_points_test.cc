// Older states of sessions: checkpoints, forks, rewinds, imports.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/server/session_rig.h"

namespace chela {
namespace {

using std::chrono::seconds;
using test_support::IsState;
using test_support::SessionTest;
using ::testing::ElementsAre;
using Code = absl::StatusCode;

using SessionPointsTest = SessionTest;
INSTANTIATE_TEST_SUITE_P(Memory, SessionPointsTest, ::testing::Values(false));
INSTANTIATE_TEST_SUITE_P(Store, SessionPointsTest, ::testing::Values(true));

TEST_P(SessionPointsTest, KeepsNamedCheckpoints) {
  Create("a");
  Turn("a", 1, "one");
  Turn("a", 2, "two");
  Turn("a", 3);
  Turn("a", 4);
  EXPECT_THAT(registry_->Get("a")->checkpoints, ElementsAre("one", "two"));
  EXPECT_THAT(*registry_->Read("a", {.revision = {}, .checkpoint = "one"}),
              IsState(State(1)));
  Turn("a", 5, "one");
  EXPECT_THAT(*registry_->Read("a", {.revision = {}, .checkpoint = "one"}),
              IsState(State(5)));
  EXPECT_THAT(*registry_->Read("a", {.revision = 4, .checkpoint = ""}),
              IsState(State(4)));
  const auto code = [this](SessionPoint point) {
    return registry_->Read("a", point).status().code();
  };
  EXPECT_EQ(code({2, ""}), Code::kNotFound);
  EXPECT_EQ(code({{}, "three"}), Code::kNotFound);
  EXPECT_EQ(code({{}, "a/b"}), Code::kInvalidArgument);
  EXPECT_EQ(code({5, "one"}), Code::kInvalidArgument);
}

TEST_P(SessionPointsTest, BoundsTheCheckpointsOfASession) {
  Create("a");
  for (int i = 0; i < 16; ++i) Turn("a", i, absl::StrCat("c", i));
  absl::StatusOr<SessionTurn> turn = registry_->BeginTurn("a", std::nullopt);
  ASSERT_TRUE(turn.ok());
  EXPECT_EQ(turn->CheckCheckpoint("c16").code(), Code::kResourceExhausted);
  EXPECT_EQ(turn->CheckCheckpoint("a/b").code(), Code::kInvalidArgument);
  EXPECT_TRUE(turn->CheckCheckpoint("").ok());
  EXPECT_TRUE(turn->CheckCheckpoint("c3").ok());
  EXPECT_EQ(turn->Commit(State(20), "c16").status().code(),
            Code::kResourceExhausted);
  EXPECT_EQ(registry_->Get("a")->revision, 16);
  EXPECT_EQ(Turn("a", 21, "c3"), 17);
}

TEST_P(SessionPointsTest, ForksAnyKeptState) {
  Create("a", "alice");
  Turn("a", 1, "c");
  Turn("a", 2);
  Turn("a", 3);
  const auto fork = [this](const std::string& id, SessionPoint point) {
    const auto info = registry_->Fork("a", point, {id, "bob", seconds(5)});
    EXPECT_TRUE(info.ok()) << info.status();
    EXPECT_THAT(info->revisions, ElementsAre(1));
    EXPECT_EQ(info->user, "bob");
  };
  fork("newest", {});
  fork("revision", {2, ""});
  fork("checkpoint", {{}, "c"});
  EXPECT_THAT(Start("newest"), IsState(State(3)));
  EXPECT_THAT(Start("revision"), IsState(State(2)));
  EXPECT_THAT(Start("checkpoint"), IsState(State(1)));
  EXPECT_EQ(StartCode("newest", 0), Code::kFailedPrecondition);
  // Each goes its own way.
  EXPECT_EQ(Turn("newest", 9), 2);
  EXPECT_THAT(Start("a"), IsState(State(3)));
  EXPECT_TRUE(registry_->Delete("a").ok());
  EXPECT_THAT(Start("revision"), IsState(State(2)));
  EXPECT_EQ(registry_->Fork("a", {}, {}).status().code(), Code::kNotFound);
  EXPECT_EQ(registry_->Fork("newest", {}, {"revision", "", {}}).status().code(),
            Code::kAlreadyExists);
}

TEST_P(SessionPointsTest, ForksAnEmptySession) {
  Create("a");
  EXPECT_THAT(registry_->Fork("a", {}, {"b", "", {}})->revisions,
              ElementsAre(0));
  EXPECT_EQ(Start("b"), nullptr);
  EXPECT_EQ(registry_->Read("b", {}).status().code(),
            Code::kFailedPrecondition);
}

TEST_P(SessionPointsTest, RewindsAsANewRevision) {
  Create("a");
  Turn("a", 1, "c");
  Turn("a", 2);
  Turn("a", 3);
  absl::StatusOr<SessionInfo> info = registry_->Rewind("a", {{}, "c"});
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_THAT(info->revisions, ElementsAre(4, 3));
  EXPECT_THAT(Start("a"), IsState(State(1)));
  EXPECT_THAT(Start("a", 3), IsState(State(3)));
  EXPECT_EQ(registry_->Rewind("a", {2, ""}).status().code(), Code::kNotFound);
  EXPECT_EQ(registry_->Rewind("a", {3, ""})->revision, 5);
  EXPECT_THAT(Start("a"), IsState(State(3)));
  EXPECT_EQ(Turn("a", 6), 6);
  EXPECT_THAT(Start("a", 5), IsState(State(3)));
}

TEST_P(SessionPointsTest, RewindsToTheEmptySession) {
  Create("a");
  Turn("a", 1);
  EXPECT_THAT(registry_->Rewind("a", {0, ""})->revisions, ElementsAre(2, 1));
  EXPECT_EQ(Start("a"), nullptr);
  EXPECT_THAT(Start("a", 1), IsState(State(1)));
  EXPECT_EQ(registry_->Get("a")->tokens, 0);
}

TEST_P(SessionPointsTest, ImportsAStateAsASession) {
  const auto info = registry_->Import(State(5), {"a", "alice", {}});
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_THAT(info->revisions, ElementsAre(1));
  EXPECT_EQ(info->tokens, State(5)->tokens());
  EXPECT_THAT(Start("a"), IsState(State(5)));
  SequenceState wrong = *State(6);
  wrong.state.pop_back();
  EXPECT_EQ(registry_->Import(std::make_shared<SequenceState>(wrong), {})
                .status()
                .code(),
            Code::kInvalidArgument);
}

}  // namespace
}  // namespace chela
