#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <deque>
#include <future>
#include <thread>
#include <vector>

#include "server/engine/engine.h"
#include "tests/server/engine_rig.h"
#include "tests/server/many_clients.h"

namespace chela {
namespace {

using std::chrono::milliseconds;
using test_support::Eventually;
using test_support::Job;
using test_support::kEndless;
using test_support::Listener;
using test_support::Recorder;
using test_support::Rig;
using test_support::StepGate;
using test_support::SubmitAndCancelAtOnce;
using test_support::WaitFor;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// More tokens than any of these tests waits for.

// A score that holds a slot and waits for input: the engine has nothing to do.
std::shared_ptr<ScoreStream> HoldASlot(Rig& rig) {
  auto silent = std::make_shared<ScoreStream>();
  const int32_t before = rig.engine->Load().running;
  EXPECT_TRUE(rig.engine->Submit(Job(silent)).ok());
  EXPECT_TRUE(
      Eventually([&] { return rig.engine->Load().running == before + 1; }));
  return silent;
}

TEST(EngineLifecycleTest, FreesTheSlotOfACancelledRequestWithinOneStep) {
  Rig rig({.slots = 1});
  Listener listener;
  ASSERT_TRUE(rig.engine->Submit(Job(listener, 4, kEndless)).ok());
  listener.WaitForTokens(5);
  StepGate gate(*rig.backend);
  gate.WaitUntilHeld();
  listener.stream()->Cancel();
  // The step that is under way ends; no other one begins.
  Recorder recorder(*rig.backend);
  gate.Open();
  const GenerationEnd end = listener.Wait();
  EXPECT_EQ(end.reason, FinishReason::kCancelled);
  EXPECT_EQ(end.status.code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(recorder.steps(), IsEmpty());
  EXPECT_EQ(rig.engine->Load().slots_free, 1);
  EXPECT_EQ(rig.Metric("chela_cancel_to_free_seconds_count"), 1);
  EXPECT_EQ(rig.Metric("chela_finished_total", ",reason=\"cancelled\""), 1);
}

TEST(EngineLifecycleTest, CancelsARequestThatWaitsForASlot) {
  Rig rig({.slots = 1});
  const auto silent = HoldASlot(rig);
  Listener waiting;
  ASSERT_TRUE(rig.engine->Submit(Job(waiting, 4, 4)).ok());
  waiting.stream()->Cancel();
  EXPECT_EQ(waiting.Wait().reason, FinishReason::kCancelled);
  EXPECT_THAT(waiting.tokens(), IsEmpty());
  EXPECT_EQ(rig.engine->Load().waiting, 0);
  EXPECT_EQ(rig.Metric("chela_cancel_to_free_seconds_count"), 0);
}

TEST(EngineLifecycleTest, ClosesARequestCancelledBeforeSubmit) {
  Rig rig;
  Listener listener;
  listener.stream()->Cancel();
  ASSERT_TRUE(rig.engine->Submit(Job(listener, 4, 4)).ok());
  EXPECT_EQ(listener.Wait().reason, FinishReason::kCancelled);
  EXPECT_THAT(listener.tokens(), IsEmpty());
}

TEST(EngineLifecycleTest, EndsARunningRequestAtItsDeadline) {
  Rig rig;
  Listener listener;
  GenerateJob job = Job(listener, 4, kEndless);
  const Clock::time_point deadline = Clock::now() + milliseconds(60);
  job.header.deadline = deadline;
  ASSERT_TRUE(rig.engine->Submit(std::move(job)).ok());
  const GenerationEnd end = listener.Wait();
  EXPECT_GE(Clock::now(), deadline);
  EXPECT_EQ(end.reason, FinishReason::kDeadline);
  EXPECT_EQ(end.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(static_cast<size_t>(end.usage.generated_tokens),
            listener.tokens().size());
  EXPECT_EQ(rig.engine->Load().slots_free, 4);
}

TEST(EngineLifecycleTest, EndsAWaitingRequestAtItsDeadlineWhileNothingRuns) {
  Rig rig({.slots = 1});
  const auto silent = HoldASlot(rig);
  Listener listener;
  GenerateJob job = Job(listener, 4, 4);
  const Clock::time_point deadline = Clock::now() + milliseconds(30);
  job.header.deadline = deadline;
  ASSERT_TRUE(rig.engine->Submit(std::move(job)).ok());
  const GenerationEnd end = listener.Wait();
  EXPECT_GE(Clock::now(), deadline);
  EXPECT_EQ(end.reason, FinishReason::kDeadline);
  EXPECT_EQ(end.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(end.status.message()), HasSubstr("waited"));
  EXPECT_GT(end.usage.queue_seconds, 0);
  EXPECT_EQ(end.usage.prefill_seconds, 0);
}

TEST(EngineLifecycleTest, FinishesWhatRunsAndWaitsWhileItDrains) {
  Rig rig({.slots = 1});
  StepGate gate(*rig.backend);
  Listener running, waiting, late;
  ASSERT_TRUE(rig.engine->Submit(Job(running, 2, 5)).ok());
  gate.WaitUntilHeld();
  ASSERT_TRUE(rig.engine->Submit(Job(waiting, 2, 5)).ok());
  rig.engine->Drain();
  EXPECT_TRUE(rig.engine->Load().draining);
  EXPECT_EQ(rig.engine->Submit(Job(late, 2, 5)).code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(
      rig.Metric("chela_admission_rejections_total", ",reason=\"draining\""),
      1);
  EXPECT_FALSE(rig.engine->WaitIdle(Clock::now() + milliseconds(5)));
  gate.Open();
  EXPECT_TRUE(rig.engine->WaitIdle(Clock::now() + std::chrono::seconds(30)));
  EXPECT_TRUE(running.ended());
  EXPECT_TRUE(waiting.ended());
  EXPECT_EQ(waiting.Wait().reason, FinishReason::kLength);
}

TEST(EngineLifecycleTest, StopsInTheMiddleAndClosesEverythingAsUnavailable) {
  Rig rig({.slots = 1});
  Listener running, waiting, late;
  ASSERT_TRUE(rig.engine->Submit(Job(running, 2, kEndless)).ok());
  running.WaitForTokens(3);
  ASSERT_TRUE(rig.engine->Submit(Job(waiting, 2, 5)).ok());
  rig.engine->Stop();
  for (Listener* listener : {&running, &waiting}) {
    EXPECT_TRUE(listener->ended());
    const GenerationEnd end = listener->Wait();
    EXPECT_EQ(end.reason, FinishReason::kError);
    EXPECT_EQ(end.status.code(), absl::StatusCode::kUnavailable);
  }
  EXPECT_EQ(rig.engine->Submit(Job(late, 2, 5)).code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(rig.engine->Load().slots_free, 1);
  EXPECT_TRUE(rig.engine->WaitIdle(Clock::now()));
  rig.engine->Stop();  // Again: nothing happens.
  running.stream()->Cancel();
}

TEST(EngineLifecycleTest, StopsFromTwoThreadsAtOnce) {
  Rig rig;
  std::thread other([&rig] { rig.engine->Stop(); });
  rig.engine->Stop();
  other.join();
}

TEST(EngineLifecycleTest, IsNotHeldUpByASilentScore) {
  Rig rig;
  const auto silent = HoldASlot(rig);
  rig.engine->Drain();
  const Clock::time_point deadline = Clock::now() + milliseconds(20);
  EXPECT_FALSE(rig.engine->WaitIdle(deadline));
  EXPECT_GE(Clock::now(), deadline);
  rig.engine->Stop();
  ASSERT_TRUE(silent->Result().has_value());
  EXPECT_EQ(silent->Result()->status.code(), absl::StatusCode::kUnavailable);
}

TEST(EngineLifecycleTest, ClosesEverythingOnceTheDeviceFails) {
  Rig rig({.slots = 2});
  int steps = 0;
  std::promise<void> submitted;
  rig.backend->SetHook(
      [&steps, all = submitted.get_future().share()](const StepRows&) {
        all.wait();
        return ++steps < 6 ? absl::OkStatus()
                           : absl::InternalError("an illegal address");
      });
  std::deque<Listener> listeners(3);
  const auto silent = std::make_shared<ScoreStream>();
  ASSERT_TRUE(rig.engine->Submit(Job(silent)).ok());
  for (Listener& listener : listeners) {
    ASSERT_TRUE(rig.engine->Submit(Job(listener, 2, kEndless)).ok());
  }
  submitted.set_value();
  for (Listener& listener : listeners) {
    const GenerationEnd end = listener.Wait();
    EXPECT_EQ(end.reason, FinishReason::kError);
    EXPECT_EQ(end.status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(end.status.message()),
                HasSubstr("an illegal address"));
  }
  EXPECT_EQ(WaitFor(*silent).status.code(), absl::StatusCode::kUnavailable);
  Listener late;
  const absl::Status refused = rig.engine->Submit(Job(late, 2, 5));
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("device failed"));
  EXPECT_FALSE(rig.engine->Load().healthy);
  rig.engine->Stop();
  EXPECT_EQ(rig.faults, 1);
  EXPECT_EQ(steps, 6);
}

TEST(EngineLifecycleTest, SleepsWhileThereIsNothingToDo) {
  Rig rig({.slots = 1});
  const auto silent = HoldASlot(rig);
  Listener waiting;
  GenerateJob job = Job(waiting, 4, 4);
  job.header.deadline = Clock::now() + std::chrono::hours(1);
  ASSERT_TRUE(rig.engine->Submit(std::move(job)).ok());
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(milliseconds(200));
  const double cpu_seconds =
      static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  // Spinning would take all of 0.2 on an idle machine, and its share of the
  // cores on a busy one.
  EXPECT_LT(cpu_seconds, 0.01);
}

TEST(EngineLifecycleTest, SurvivesManyClientsThatSubmitAndCancelAtOnce) {
  Rig rig({.slots = 3});
  SubmitAndCancelAtOnce(rig, /*choices=*/1, /*slots=*/3, [&rig] {
    for (int i = 0; i < 20; ++i) {
      EXPECT_LE(rig.engine->Load().running, 3);
      std::this_thread::yield();
    }
  });
}

}  // namespace
}  // namespace chela
