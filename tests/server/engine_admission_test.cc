#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <functional>
#include <string>

#include "server/engine/engine.h"
#include "tests/server/engine_rig.h"

namespace chela {
namespace {

using test_support::Job;
using test_support::kEndless;
using test_support::Listener;
using test_support::Rig;
using test_support::StepGate;
using ::testing::HasSubstr;

// More tokens than any of these tests waits for.

TEST(EngineAdmissionTest, RefusesADeadlineThatHasPassed) {
  Rig rig;
  Listener listener;
  GenerateJob job = Job(listener, 4, 4);
  job.header.deadline = Clock::now();
  EXPECT_EQ(rig.engine->Submit(std::move(job)).code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(
      rig.Metric("chela_admission_rejections_total", ",reason=\"deadline\""),
      1);
  EXPECT_FALSE(listener.ended());
}

TEST(EngineAdmissionTest, RefusesWhenTheQueueIsFullAndAcceptsAgainAfterwards) {
  Rig rig({.slots = 1, .limits = {.max_waiting = 2}});
  StepGate gate(*rig.backend);
  std::deque<Listener> listeners(5);
  ASSERT_TRUE(rig.engine->Submit(Job(listeners[0], 2, 1)).ok());
  gate.WaitUntilHeld();
  ASSERT_TRUE(rig.engine->Submit(Job(listeners[1], 20, 1)).ok());
  ASSERT_TRUE(rig.engine->Submit(Job(listeners[2], 30, 1)).ok());
  const EngineLoad load = rig.engine->Load();
  EXPECT_EQ(load.running, 1);
  EXPECT_EQ(load.waiting, 2);
  EXPECT_EQ(load.queued_tokens, 50);
  EXPECT_EQ(load.slots_total, 1);
  EXPECT_EQ(load.slots_free, 0);
  const absl::Status refused = rig.engine->Submit(Job(listeners[3], 2, 1));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("2 requests wait"));
  EXPECT_EQ(
      rig.Metric("chela_admission_rejections_total", ",reason=\"queue_full\""),
      1);
  gate.Open();
  listeners[2].Wait();
  EXPECT_TRUE(rig.engine->Submit(Job(listeners[4], 2, 1)).ok());
  EXPECT_EQ(listeners[4].Wait().reason, FinishReason::kLength);
}

TEST(EngineAdmissionTest, TakesABurstForWhichSlotsAreFreeWithoutAQueue) {
  Rig rig({.slots = 4, .limits = {.max_waiting = 0}});
  std::deque<Listener> listeners(5);
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(rig.engine->Submit(Job(listeners[i], 2, kEndless)).ok());
  }
  EXPECT_EQ(rig.engine->Submit(Job(listeners[4], 2, 1)).code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(EngineAdmissionTest, RefusesJobsOutsideTheLimitsAndNamesTheField) {
  Rig rig({.limits = {.max_prompt_tokens = 10, .max_output_tokens = 20}});
  Listener listener;
  const auto refusal = [&](const std::function<void(GenerateJob&)>& spoil) {
    GenerateJob job = Job(listener, 4, 4);
    spoil(job);
    const absl::Status status = rig.engine->Submit(std::move(job));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_EQ(refusal([](auto& job) { job.prompt.clear(); }),
            "prompt: 0 tokens; want at least 1");
  EXPECT_EQ(refusal([](auto& job) { job.prompt.resize(11); }),
            "prompt: 11 tokens; want at most 10");
  EXPECT_EQ(refusal([](auto& job) { job.prompt[2] = 258; }),
            "prompt[2]: token id 258; want 0 to 257");
  EXPECT_EQ(refusal([](auto& job) { job.prompt[0] = -1; }),
            "prompt[0]: token id -1; want 0 to 257");
  EXPECT_EQ(refusal([](auto& job) { job.max_tokens = 0; }),
            "max_tokens: 0; want 1 to 20");
  EXPECT_EQ(refusal([](auto& job) { job.max_tokens = 21; }),
            "max_tokens: 21; want 1 to 20");
  EXPECT_THAT(refusal([](auto& job) {
                job.stop = {"a", ""};
              }),
              HasSubstr("stop[1]: an empty string"));
  EXPECT_THAT(refusal([](auto& job) { job.sampling.temperature = NAN; }),
              HasSubstr("temperature: nan"));
  EXPECT_THAT(refusal([](auto& job) { job.sampling.top_k = -1; }),
              HasSubstr("top_k: -1"));
  EXPECT_THAT(refusal([](auto& job) { job.sampling.top_p = 0; }),
              HasSubstr("top_p: 0"));
  EXPECT_THAT(refusal([](auto& job) { job.sampling.logprobs = 21; }),
              HasSubstr("logprobs: 21"));
  EXPECT_EQ(refusal([](auto& job) {
              job.cache_at = {4, 5};
            }),
            "cache_at[1]: 5; want 1 to 4, the tokens of the prompt");
  EXPECT_EQ(refusal([](auto& job) { job.cache_at = {0}; }),
            "cache_at[0]: 0; want 1 to 4, the tokens of the prompt");
  EXPECT_EQ(refusal([](auto& job) { job.cache_at.assign(17, 1); }),
            "cache_at: 17 points; want at most 16");
  EXPECT_EQ(refusal([](auto& job) { job.cache_salt.assign(257, 'x'); }),
            "cache_salt: 257 bytes; want at most 256");
  EXPECT_EQ(
      refusal([](auto& job) { job.cache_pin = std::chrono::seconds(86401); }),
      "cache_pin: 86401 s; want 0 to 86400 s");
  EXPECT_THAT(refusal([](auto& job) { job.stream = nullptr; }),
              HasSubstr("stream"));
  EXPECT_EQ(
      rig.Metric("chela_admission_rejections_total", ",reason=\"invalid\""),
      17);
}

}  // namespace
}  // namespace chela
