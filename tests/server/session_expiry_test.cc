// The end of sessions that nobody uses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "tests/server/session_rig.h"

namespace chela {
namespace {

using std::chrono::seconds;
using test_support::IsState;
using test_support::SessionTest;
using Code = absl::StatusCode;

using SessionExpiryTest = SessionTest;
INSTANTIATE_TEST_SUITE_P(Memory, SessionExpiryTest, ::testing::Values(false));
INSTANTIATE_TEST_SUITE_P(Store, SessionExpiryTest, ::testing::Values(true));
using StoredExpiryTest = SessionTest;
INSTANTIATE_TEST_SUITE_P(Store, StoredExpiryTest, ::testing::Values(true));

TEST_P(SessionExpiryTest, EndsIdleSessions) {
  Create("never", "");
  ASSERT_TRUE(registry_->Create({"short", "u", seconds(10)}).ok());
  ASSERT_TRUE(registry_->Create({"eternal", "u", seconds(0)}).ok());
  now_ += seconds(9);
  Turn("short", 1);  // Use prolongs its life.
  now_ += seconds(9);
  EXPECT_EQ(StartCode("short"), Code::kOk);
  now_ += seconds(10);
  EXPECT_EQ(StartCode("short"), Code::kNotFound);
  EXPECT_EQ(registry_->Get("short").status().code(), Code::kNotFound);
  EXPECT_EQ(registry_->List("u", 0, "").sessions.size(), 1u);
  // Its name is free, though nobody has swept yet.
  ASSERT_TRUE(registry_->Create({"short", "u", seconds(10)}).ok());
  EXPECT_EQ(Start("short"), nullptr);
  now_ += std::chrono::hours(24 * 365);
  registry_->Sweep();
  EXPECT_EQ(registry_->List("", 0, "").sessions.size(), 1u);
  EXPECT_EQ(registry_->Get("eternal")->expires, std::nullopt);
  EXPECT_TRUE(medium_.snapshots.empty());
}

TEST_P(SessionExpiryTest, KeepsASessionThatIsInUse) {
  ASSERT_TRUE(registry_->Create({"a", "", seconds(10)}).ok());
  absl::StatusOr<SessionTurn> turn = registry_->BeginTurn("a", std::nullopt);
  ASSERT_TRUE(turn.ok());
  now_ += seconds(1000);
  registry_->Sweep();
  EXPECT_TRUE(turn->Commit(State(1), "").ok());
  EXPECT_THAT(Start("a"), IsState(State(1)));
}

TEST_P(SessionExpiryTest, AClockThatIsSetEndsNoSession) {
  Create("a");
  now_ += seconds(100);
  for (const int hours : {24 * 365, -24 * 365}) {
    clock_error_ = std::chrono::hours(hours);
    registry_->Sweep();
    const auto info = registry_->Get("a");
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(*info->expires - (now_ + clock_error_),
              std::chrono::hours(1) - seconds(100));
  }
  // Its own time goes on meanwhile.
  now_ += std::chrono::hours(1) - seconds(100);
  EXPECT_EQ(registry_->Get("a").status().code(), Code::kNotFound);
}

TEST_P(StoredExpiryTest, EndsSessionsWhoseTimeRanOutMeanwhile) {
  Create("a");
  Turn("a", 1);
  now_ += std::chrono::hours(1);
  Open();
  EXPECT_EQ(StartCode("a"), Code::kNotFound);
  registry_->Sweep();
  EXPECT_TRUE(medium_.records.empty());
  EXPECT_TRUE(medium_.snapshots.empty());
}

TEST_P(StoredExpiryTest, ARestartCountsIdleTimeByTheSystemsClock) {
  Create("a");
  now_ += std::chrono::minutes(30);
  Open();
  EXPECT_EQ(*registry_->Get("a")->expires - now_, std::chrono::minutes(30));
  // Set back, its last use lies ahead: it counts as used just now.
  clock_error_ = std::chrono::hours(-1000);
  Open();
  EXPECT_EQ(*registry_->Get("a")->expires - (now_ + clock_error_),
            std::chrono::hours(1));
}

TEST_P(StoredExpiryTest, IsGoneForEveryCallWhileItIsBeingRemoved) {
  ASSERT_TRUE(registry_->Create({"a", "u", seconds(10)}).ok());
  Turn("a", 1);
  now_ += seconds(10);
  int looks = 0;
  medium_.during_delete = [&] {
    ++looks;
    EXPECT_EQ(registry_->Get("a").status().code(), Code::kNotFound);
    EXPECT_EQ(StartCode("a"), Code::kNotFound);
    EXPECT_EQ(registry_->Delete("a").code(), Code::kNotFound);
    EXPECT_TRUE(registry_->List("", 0, "").sessions.empty());
  };
  // The medium can't now; the next sweep does.
  medium_.delete_status = absl::UnavailableError("gone");
  registry_->Sweep();
  EXPECT_EQ(StartCode("a"), Code::kNotFound);
  medium_.delete_status = absl::OkStatus();
  registry_->Sweep();
  EXPECT_EQ(looks, 2);
  EXPECT_TRUE(medium_.records.empty());
  EXPECT_TRUE(medium_.snapshots.empty());
}

}  // namespace
}  // namespace chela
