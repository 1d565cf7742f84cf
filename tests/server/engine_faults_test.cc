// Devices that fail while others serve.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <future>
#include <string>

#include "server/engine/engine.h"
#include "tests/server/replicas_rig.h"

namespace chela {
namespace {

using test_support::Eventually;
using test_support::HoldASlotOf;
using test_support::Job;
using test_support::kEndless;
using test_support::Listener;
using test_support::Rig;
using test_support::StepGate;
using test_support::WaitFor;
using ::testing::HasSubstr;

TEST(EngineFaultsTest, ALostDeviceEndsEverythingOnAll) {
  Rig rig({.slots = 2, .replicas = 3});
  const auto held = HoldASlotOf(rig, 0);
  std::promise<void> broken;
  rig.others[0].backend->SetHook(
      [all = broken.get_future().share()](const StepRows&) {
        all.wait();
        return absl::InternalError("an illegal address");
      });
  std::deque<Listener> listeners(7);
  for (Listener& listener : listeners) {
    ASSERT_TRUE(rig.engine->Submit(Job(listener, 2, kEndless)).ok());
  }
  // The broken one has two, but may stand in its first step with one.
  ASSERT_TRUE(Eventually([&] { return rig.engine->Load().running >= 5; }));
  EXPECT_GE(rig.engine->Load().waiting, 2);
  broken.set_value();
  for (Listener& listener : listeners) {
    const GenerationEnd end = listener.Wait();
    EXPECT_EQ(end.status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(end.status.message()),
                HasSubstr("the device failed: rig:1: INTERNAL: an illegal"));
  }
  EXPECT_EQ(WaitFor(*held).status.code(), absl::StatusCode::kUnavailable);
  Listener late;
  EXPECT_THAT(std::string(rig.engine->Submit(Job(late, 2, 5)).message()),
              HasSubstr("rig:1"));
  EXPECT_TRUE(rig.engine->WaitIdle(Clock::now() + std::chrono::seconds(30)));
  const EngineLoad load = rig.engine->Load();
  EXPECT_FALSE(load.healthy);
  EXPECT_EQ(load.running + load.waiting, 0);
  rig.engine->Stop();
  EXPECT_EQ(rig.faults, 1);
}

TEST(EngineFaultsTest, AFaultWakesDevicesThatSleep) {
  Rig rig({.slots = 1, .replicas = 2});
  const auto asleep = HoldASlotOf(rig, 0);
  rig.others[0].backend->SetHook(
      [](const StepRows&) { return absl::InternalError("gone"); });
  Listener failing;
  ASSERT_TRUE(rig.engine->Submit(Job(failing, 2, kEndless)).ok());
  EXPECT_EQ(failing.Wait().status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(WaitFor(*asleep).status.code(), absl::StatusCode::kUnavailable);
}

TEST(EngineFaultsTest, AFaultIsToldAtOnceThoughAnotherDeviceHangs) {
  Rig rig({.slots = 1, .replicas = 2});
  StepGate gate(*rig.backend);
  rig.others[0].backend->SetHook(
      [](const StepRows&) { return absl::InternalError("gone"); });
  Listener hanging;
  ASSERT_TRUE(rig.engine->Submit(Job(hanging, 2, kEndless)).ok());
  gate.WaitUntilHeld();
  Listener failing;
  ASSERT_TRUE(rig.engine->Submit(Job(failing, 2, kEndless)).ok());
  EXPECT_EQ(failing.Wait().status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(Eventually([&] { return rig.faults == 1; }));
  EXPECT_FALSE(hanging.ended());
  gate.Open();
  EXPECT_EQ(hanging.Wait().status.code(), absl::StatusCode::kUnavailable);
}

TEST(EngineFaultsTest, ReportsOneFaultIfAllDevicesFail) {
  Rig rig({.slots = 1, .replicas = 3});
  const auto fail = [](const StepRows&) {
    return absl::InternalError("no power");
  };
  rig.backend->SetHook(fail);
  for (auto& other : rig.others) other.backend->SetHook(fail);
  std::deque<Listener> listeners(3);
  for (Listener& listener : listeners) {
    // The first may have failed already.
    rig.engine->Submit(Job(listener, 2, kEndless)).IgnoreError();
  }
  EXPECT_TRUE(Eventually([&] { return rig.faults == 1; }));
  rig.engine->Stop();
  EXPECT_EQ(rig.faults, 1);
}

}  // namespace
}  // namespace chela
