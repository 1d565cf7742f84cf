// Sessions without a store, whose memory is limited, and many threads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/session/state_cache.h"
#include "tests/server/session_rig.h"

namespace chela {
namespace {

using test_support::IsState;
using test_support::SessionTest;
using Code = absl::StatusCode;

using SessionMemoryTest = SessionTest;
INSTANTIATE_TEST_SUITE_P(Memory, SessionMemoryTest, ::testing::Values(false));
using SessionThreadsTest = SessionTest;
INSTANTIATE_TEST_SUITE_P(Memory, SessionThreadsTest, ::testing::Values(false));
INSTANTIATE_TEST_SUITE_P(Store, SessionThreadsTest, ::testing::Values(true));

TEST_P(SessionMemoryTest, NeverDropsAState) {
  const int64_t room = MaxHostBytes(options_.model);
  options_.memory_bytes = room + 1000;
  Open();
  Create("a");
  EXPECT_EQ(Turn("a", 1), 1);
  // There is no room for the worst case of one more turn.
  EXPECT_EQ(StartCode("a"), Code::kResourceExhausted);
  EXPECT_EQ(registry_->Create({}).status().code(), Code::kResourceExhausted);
  EXPECT_THAT(*registry_->Read("a", {}), IsState(State(1)));
  // Forks share what is there.
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(registry_->Fork("a", {}, {}).ok());
  }
  // A place that was given up can be used again.
  for (const SessionInfo& info : registry_->List("", 0, "").sessions) {
    EXPECT_TRUE(registry_->Delete(info.id).ok());
  }
  Create("b");
  EXPECT_EQ(Turn("b", 2), 1);
}

TEST_P(SessionMemoryTest, ReservesTheMemoryOfATurnThatRuns) {
  const int64_t room = MaxHostBytes(options_.model);
  options_.memory_bytes = 2 * room - 1;
  Open();
  Create("a");
  Create("b");
  {
    auto turn = registry_->BeginTurn("a", std::nullopt);
    ASSERT_TRUE(turn.ok());
    EXPECT_EQ(StartCode("b"), Code::kResourceExhausted);
  }
  EXPECT_EQ(StartCode("b"), Code::kOk);
}

TEST_P(SessionMemoryTest, RefusesAnImportBeyondTheLimit) {
  options_.memory_bytes = HostBytes(*State(1)) - 1;
  Open();
  EXPECT_EQ(registry_->Import(State(1), {}).status().code(),
            Code::kResourceExhausted);
  options_.memory_bytes += 1;
  Open();
  EXPECT_TRUE(registry_->Import(State(1), {}).ok());
}

TEST_P(SessionMemoryTest, GivesBackWhatRevisionsAndCheckpointsHeld) {
  options_.memory_bytes = 6 * MaxHostBytes(options_.model);
  Open();
  Create("a");
  for (int i = 0; i < 500; ++i) {
    ASSERT_EQ(Turn("a", i, i % 3 == 0 ? "c" : ""), i + 1);
    if (i % 5 == 0) {
      ASSERT_TRUE(registry_->Fork("a", {}, {"b", "", {}}).ok());
      ASSERT_TRUE(registry_->Delete("b").ok());
    }
  }
}

TEST(StateCacheTest, CountsASharedStateOnceAndDropsTheLeastRecentlyUsed) {
  const SnapshotModel model = test_support::SmallSnapshotModel();
  const auto state = [&](uint64_t seed) {
    return test_support::RandomStatePtr(model, seed);
  };
  StateCache cache;
  const SequenceStatePtr one = state(1);
  cache.Put({"a", 1}, one);
  cache.Put({"b", 1}, one);
  EXPECT_EQ(cache.bytes(), HostBytes(*one));
  cache.Put({"c", 1}, state(2));
  cache.Put({"d", 1}, state(3));
  EXPECT_THAT(cache.Get({"a", 1}), IsState(one));
  const auto dropped = cache.Shrink(cache.bytes() - 1);
  // "b" alone frees nothing, since "a" has the same state.
  EXPECT_THAT(dropped, ::testing::ElementsAre(StateCache::Key{"b", 1},
                                              StateCache::Key{"c", 1}));
  EXPECT_EQ(cache.bytes(), HostBytes(*one) + HostBytes(*state(3)));
  cache.Put({"a", 1}, state(4));  // replaces
  EXPECT_EQ(cache.bytes(), HostBytes(*state(4)) + HostBytes(*state(3)));
  cache.Erase({"a", 1});
  cache.Erase({"d", 1});
  cache.Erase({"d", 1});
  EXPECT_EQ(cache.bytes(), 0);
  EXPECT_EQ(cache.Get({"a", 1}), nullptr);
}

// What one thread does in the test below.
void UseSessions(SessionRegistry& registry, const SnapshotModel& model,
                 uint64_t seed, std::atomic<int64_t>& committed) {
  std::mt19937_64 random(seed);
  for (int i = 0; i < 300; ++i) {
    const std::string id = absl::StrCat("s", random() % 4);
    switch (random() % 9) {
      case 0:
        registry.Create({id, "u", {}}).status().IgnoreError();
        break;
      case 1:
        registry.Fork(id, {}, {absl::StrCat("s", random() % 4), "u", {}})
            .status()
            .IgnoreError();
        break;
      case 2:
        registry.Rewind(id, {{}, "c"}).status().IgnoreError();
        break;
      case 3:
        if (random() % 8 == 0) registry.Delete(id).IgnoreError();
        break;
      case 4:
        registry.List("", 3, "");
        break;
      case 5:
        registry.Read(id, {{}, "c"}).status().IgnoreError();
        break;
      case 6:
        registry.Sweep();
        break;
      default: {
        absl::StatusOr<SessionTurn> turn = registry.BeginTurn(id, std::nullopt);
        if (!turn.ok() || random() % 4 == 0) break;
        const absl::StatusOr<int64_t> revision =
            turn->Commit(test_support::RandomStatePtr(model, random()), "c");
        ASSERT_TRUE(revision.ok()) << revision.status();
        ++committed;
        if (random() % 4 == 0) registry.UndoTurn(id, *revision);
      }
    }
  }
}

TEST_P(SessionThreadsTest, StayWholeUnderManyThreads) {
  options_.memory_bytes =
      has_store() ? 3 * MaxHostBytes(options_.model) : int64_t{1} << 30;
  options_.sweep_interval = std::chrono::milliseconds(1);
  Open();
  std::atomic<int64_t> committed = 0;
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 8; ++t) {
    threads.emplace_back(
        [&, t] { UseSessions(*registry_, options_.model, t, committed); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(committed, 20);
  registry_->Sweep();
  // Everything that is named can be read, and nothing else is stored.
  size_t named = 0;
  for (const SessionInfo& info : registry_->List("", 0, "").sessions) {
    for (const int64_t revision : info.revisions) {
      EXPECT_TRUE(registry_->Fork(info.id, {revision, ""}, {"f", "", {}}).ok());
      EXPECT_TRUE(registry_->Delete("f").ok());
    }
    named += info.revisions.size() + info.checkpoints.size();
  }
  EXPECT_LE(medium_.snapshots.size(), named);
}

// Of many turns that expect the same revision, one commits.
TEST_P(SessionThreadsTest, LetOneOfManyTurnsWin) {
  Create("a");
  std::atomic<int> won = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      absl::StatusOr<SessionTurn> turn = registry_->BeginTurn("a", 0);
      while (turn.status().code() == Code::kAborted) {
        turn = registry_->BeginTurn("a", 0);
      }
      // Going on from 0 stays possible while revision 1 is the newest.
      if (turn.ok() && turn->Commit(State(t), "").ok()) ++won;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(registry_->Get("a")->revision, won);
  EXPECT_EQ(registry_->Get("a")->revisions.back(), 0);
}

}  // namespace
}  // namespace chela
