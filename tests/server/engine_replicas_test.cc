// Several devices behind one queue.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <vector>

#include "server/engine/engine.h"
#include "tests/server/many_clients.h"
#include "tests/server/replicas_rig.h"
#include "tests/server/turn_rig.h"

namespace chela {
namespace {

using std::chrono::milliseconds;
using test_support::ExpectSameState;
using test_support::Greedy;
using test_support::HoldASlotOf;
using test_support::Job;
using test_support::kEndless;
using test_support::Listener;
using test_support::Prompt;
using test_support::Recorder;
using test_support::Release;
using test_support::Rig;
using test_support::RunTurn;
using test_support::SubmitAndCancelAtOnce;
using test_support::TurnAnswer;
using test_support::TurnJob;
using test_support::WaitFor;
using ::testing::HasSubstr;

GenerateJob MixedJob(const Listener& listener, int i) {
  return Job(listener, 1 + i * 67 % 600, 5 + i % 4 * 9,
             static_cast<uint32_t>(i));
}

TEST(EngineReplicasTest, GivesTheTokensOfOneDeviceOnEveryDevice) {
  constexpr int kJobs = 40;
  std::vector<std::vector<int32_t>> wanted;
  {
    Rig alone({.slots = 1});
    for (int i = 0; i < kJobs; ++i) {
      Listener listener;
      ASSERT_TRUE(alone.engine->Submit(MixedJob(listener, i)).ok());
      EXPECT_TRUE(listener.Wait().status.ok());
      wanted.push_back(listener.tokens());
    }
  }
  Rig rig({.slots = 2, .replicas = 3});
  std::vector<Recorder> recorders;
  recorders.emplace_back(*rig.backend);
  for (auto& other : rig.others) recorders.emplace_back(*other.backend);
  std::deque<Listener> listeners(kJobs);
  for (int i = 0; i < kJobs; ++i) {
    ASSERT_TRUE(rig.engine->Submit(MixedJob(listeners[i], i)).ok());
  }
  for (int i = 0; i < kJobs; ++i) {
    EXPECT_TRUE(listeners[i].Wait().status.ok());
    EXPECT_EQ(listeners[i].tokens(), wanted[i]) << i;
  }
  for (const Recorder& recorder : recorders) EXPECT_GT(recorder.rows(), 0);
  EXPECT_EQ(rig.engine->Load().slots_free, 6);
}

TEST(EngineReplicasTest, SpreadsRequestsEvenlyAndCountsOverAll) {
  Rig rig({.slots = 4, .replicas = 2});
  std::vector<std::shared_ptr<ScoreStream>> held;
  for (int i = 0; i < 6; ++i) held.push_back(HoldASlotOf(rig, i % 2));
  const EngineLoad load = rig.engine->Load();
  EXPECT_EQ(load.slots_total, 8);
  EXPECT_EQ(load.slots_free, 2);
  EXPECT_EQ(load.running, 6);
  EXPECT_EQ(rig.Metric("chela_requests_running"), 6);
  EXPECT_EQ(rig.Metric("chela_state_slots", ",state=\"active\""), 6);
  EXPECT_EQ(rig.Metric("chela_state_slots", ",state=\"free\""), 2);
  EXPECT_EQ(rig.Metric("chela_state_bytes"), 8.0 * load.slot_bytes);
}

TEST(EngineReplicasTest, AWaitingRequestStartsWhereverASlotBecomesFree) {
  for (const int free : {0, 1}) {
    Rig rig({.slots = 1, .replicas = 2});
    const std::shared_ptr<ScoreStream> held[] = {HoldASlotOf(rig, 0),
                                                 HoldASlotOf(rig, 1)};
    Listener waiting;
    ASSERT_TRUE(rig.engine->Submit(Job(waiting, 300, 5)).ok());
    EXPECT_EQ(rig.engine->Load().waiting, 1);
    EXPECT_EQ(rig.Metric("chela_requests_waiting"), 1);
    EXPECT_EQ(rig.Metric("chela_queued_tokens"), 300);
    held[free]->Cancel();
    EXPECT_EQ(waiting.Wait().reason, FinishReason::kLength);
    EXPECT_FALSE(held[1 - free]->Result().has_value());
  }
}

TEST(EngineReplicasTest, AdmitsByPriorityOverAllDevices) {
  Rig rig({.slots = 1, .replicas = 2});
  const auto first = HoldASlotOf(rig, 0);
  const auto second = HoldASlotOf(rig, 1);
  Listener early;
  Listener urgent;
  ASSERT_TRUE(rig.engine->Submit(Job(early, 2, 1)).ok());
  GenerateJob job = Job(urgent, 2, kEndless);
  job.header.priority = 5;
  ASSERT_TRUE(rig.engine->Submit(std::move(job)).ok());
  second->Cancel();
  urgent.WaitForTokens(1);
  EXPECT_FALSE(early.ended());
  first->Cancel();
  EXPECT_EQ(early.Wait().reason, FinishReason::kLength);
}

TEST(EngineReplicasTest, TheQueueLimitIsOneForAll) {
  Rig rig({.slots = 1, .limits = {.max_waiting = 2}, .replicas = 2});
  const auto first = HoldASlotOf(rig, 0);
  const auto second = HoldASlotOf(rig, 1);
  std::deque<Listener> listeners(3);
  ASSERT_TRUE(rig.engine->Submit(Job(listeners[0], 2, 1)).ok());
  ASSERT_TRUE(rig.engine->Submit(Job(listeners[1], 2, 1)).ok());
  const absl::Status refused = rig.engine->Submit(Job(listeners[2], 2, 1));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("2 requests wait"));
  first->Cancel();
  EXPECT_EQ(listeners[1].Wait().reason, FinishReason::kLength);
}

TEST(EngineReplicasTest, EndsWaitingRequestsThatAreCancelledOrOverdue) {
  Rig rig({.slots = 1, .replicas = 2});
  const auto first = HoldASlotOf(rig, 0);
  const auto second = HoldASlotOf(rig, 1);
  Listener overdue;
  GenerateJob job = Job(overdue, 2, 1);
  job.header.deadline = Clock::now() + milliseconds(20);
  ASSERT_TRUE(rig.engine->Submit(std::move(job)).ok());
  EXPECT_EQ(overdue.Wait().reason, FinishReason::kDeadline);
  Listener cancelled;
  ASSERT_TRUE(rig.engine->Submit(Job(cancelled, 2, 1)).ok());
  cancelled.stream()->Cancel();
  EXPECT_EQ(cancelled.Wait().reason, FinishReason::kCancelled);
  EXPECT_EQ(rig.engine->Load().waiting, 0);
}

TEST(EngineReplicasTest, ARequestForManySlotsGetsThemOnOneDevice) {
  Rig rig({.slots = 2, .replicas = 2});
  const auto first = HoldASlotOf(rig, 0);
  const auto second = HoldASlotOf(rig, 1);
  Listener wide;
  GenerateJob job = Job(wide, 2, 3);
  job.choices = job.best_of = 2;
  ASSERT_TRUE(rig.engine->Submit(job).ok());
  Listener behind;  // It does not pass the wide one, though it would fit.
  ASSERT_TRUE(rig.engine->Submit(Job(behind, 2, 1)).ok());
  EXPECT_EQ(rig.engine->Load().waiting, 2);
  second->Cancel();
  EXPECT_EQ(wide.Wait().reason, FinishReason::kLength);
  EXPECT_EQ(behind.Wait().reason, FinishReason::kLength);
  job.choices = job.best_of = 3;
  EXPECT_EQ(rig.engine->Submit(job).message(), "best_of: 3; want 1 to 2");
}

TEST(EngineReplicasTest, ATurnGoesOnOnAnotherDeviceWithTheSameBits) {
  Rig alone({.slots = 1});
  TurnAnswer want = RunTurn(alone, TurnJob({}, Prompt(300), 7, Greedy()));
  want = RunTurn(alone, TurnJob(want.state, Prompt(40, 2), 9, Greedy()));

  Rig rig({.slots = 1, .replicas = 2});
  auto held = HoldASlotOf(rig, 0);
  Recorder on_second(*rig.others[0].backend);
  TurnAnswer got = RunTurn(rig, TurnJob({}, Prompt(300), 7, Greedy()));
  EXPECT_GT(on_second.rows(), 0);
  Release(rig, held);
  held = HoldASlotOf(rig, 0);
  const auto other = HoldASlotOf(rig, 1);
  Release(rig, held);
  Recorder on_first(*rig.backend);
  got = RunTurn(rig, TurnJob(got.state, Prompt(40, 2), 9, Greedy()));
  EXPECT_GT(on_first.rows(), 0);
  EXPECT_EQ(got.tokens, want.tokens);
  ExpectSameState(*got.state, *want.state);
}

TEST(EngineReplicasTest, APromptGoesWhereItsBeginningWasRead) {
  Rig rig(
      {.slots = 3, .limits = {.prefix_cache_bytes = 64 << 20}, .replicas = 2});
  const auto held = HoldASlotOf(rig, 0);
  const auto run = [&rig](int32_t size) {
    Listener listener;
    EXPECT_TRUE(rig.engine->Submit(Job(listener, size, 2)).ok());
    return listener.Wait().usage.cached_prompt_tokens;
  };
  EXPECT_EQ(run(600), 0);  // On the second, which has more free slots.
  Release(rig, held);
  EXPECT_EQ(run(600), 512);  // Both are free; the first would be next.
  const auto two = HoldASlotOf(rig, 0);
  Recorder first(*rig.backend);
  EXPECT_EQ(run(100), 0);  // Too short to be remembered.
  EXPECT_EQ(first.rows(), 0);
}

TEST(EngineReplicasTest, DrainsAndStopsAll) {
  Rig rig({.slots = 1, .replicas = 2});
  std::deque<Listener> running(2);
  for (Listener& listener : running) {
    ASSERT_TRUE(rig.engine->Submit(Job(listener, 2, 400)).ok());
  }
  Listener waiting;
  ASSERT_TRUE(rig.engine->Submit(Job(waiting, 2, 400)).ok());
  rig.engine->Drain();
  Listener late;
  EXPECT_EQ(rig.engine->Submit(Job(late, 2, 5)).code(),
            absl::StatusCode::kUnavailable);
  EXPECT_TRUE(rig.engine->WaitIdle(Clock::now() + std::chrono::seconds(30)));
  EXPECT_EQ(waiting.Wait().reason, FinishReason::kLength);
  rig.engine->Stop();

  Rig stopped({.slots = 1, .replicas = 2});
  const auto first = HoldASlotOf(stopped, 0);
  const auto second = HoldASlotOf(stopped, 1);
  Listener queued;
  ASSERT_TRUE(stopped.engine->Submit(Job(queued, 2, 5)).ok());
  stopped.engine->Stop();
  EXPECT_EQ(queued.Wait().status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(WaitFor(*first).status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(WaitFor(*second).status.code(), absl::StatusCode::kUnavailable);
}

TEST(EngineReplicasTest, SurvivesManyClientsThatSubmitAndCancelAtOnce) {
  Rig rig({.slots = 2, .replicas = 3});
  SubmitAndCancelAtOnce(rig, /*choices=*/2, /*slots=*/6);
}

}  // namespace
}  // namespace chela
