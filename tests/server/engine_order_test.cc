#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <mutex>
#include <vector>

#include "server/engine/engine.h"
#include "tests/server/engine_rig.h"

namespace chela {
namespace {

using test_support::Job;
using test_support::Listener;
using test_support::Recorder;
using test_support::Rig;
using test_support::StepGate;
using ::testing::ElementsAre;

// Serves one request at a time; which of the four that wait comes when.
std::vector<int> OrderServed(const std::vector<int32_t>& priorities) {
  Rig rig({.slots = 1});
  StepGate gate(*rig.backend);
  Listener first;
  EXPECT_TRUE(rig.engine->Submit(Job(first, 2, 1)).ok());
  gate.WaitUntilHeld();

  std::mutex mutex;
  std::vector<int> order;
  std::deque<std::shared_ptr<TokenStream>> streams;
  for (size_t i = 0; i < priorities.size(); ++i) {
    GenerateJob job = Job(first, 2, 3);
    job.stream = streams.emplace_back(std::make_shared<TokenStream>());
    job.stream->SetCallback([&, i, stream = job.stream.get()] {
      stream->Pop();
      if (!stream->End().has_value()) return;
      const std::lock_guard lock(mutex);
      order.push_back(static_cast<int>(i));
    });
    job.header.priority = priorities[i];
    EXPECT_TRUE(rig.engine->Submit(std::move(job)).ok());
  }
  gate.Open();
  EXPECT_TRUE(rig.engine->WaitIdle(Clock::now() + std::chrono::seconds(30)));
  return order;
}

TEST(EngineOrderTest, ServesEqualsInTheOrderOfTheirArrival) {
  EXPECT_THAT(OrderServed({0, 0, 0, 0}), ElementsAre(0, 1, 2, 3));
}

TEST(EngineOrderTest, ServesHigherPrioritiesFirst) {
  EXPECT_THAT(OrderServed({0, 7, -1, 7}), ElementsAre(1, 3, 0, 2));
}

TEST(EngineOrderTest, NeverPausesDecodingForALongPrompt) {
  Rig rig({.slots = 2, .limits = {.max_batch_tokens = 512}});
  Listener decoding, reading;
  // The decoding one is there first, and lasts.
  StepGate gate(*rig.backend);
  ASSERT_TRUE(rig.engine->Submit(Job(decoding, 1, 300)).ok());
  gate.WaitUntilHeld();
  Recorder recorder(*rig.backend);
  ASSERT_TRUE(rig.engine->Submit(Job(reading, 3000, 1)).ok());
  gate.Open();
  reading.Wait();
  decoding.Wait();

  int64_t read = 0;
  for (const std::vector<Segment>& step : recorder.steps()) {
    bool decodes = false;
    bool reads = false;
    for (const Segment& segment : step) {
      if (segment.slot == 0) {
        decodes = true;
        EXPECT_EQ(segment.rows, 1);
        continue;
      }
      reads = true;
      EXPECT_EQ(segment.position, read);
      read += segment.rows;
      EXPECT_TRUE(read % kChunkTokens == 0 || read == 3000) << read;
    }
    EXPECT_TRUE(decodes || !reads);
  }
  EXPECT_EQ(read, 3000);
}

TEST(EngineOrderTest, TakesTurnsWhereAChunkAndDecodingDoNotFitTogether) {
  Rig rig({.slots = 2, .limits = {.max_batch_tokens = 256}});
  Listener decoding, reading;
  StepGate gate(*rig.backend);
  ASSERT_TRUE(rig.engine->Submit(Job(decoding, 1, 300)).ok());
  gate.WaitUntilHeld();
  Recorder recorder(*rig.backend);
  ASSERT_TRUE(rig.engine->Submit(Job(reading, 10 * 256, 1)).ok());
  gate.Open();
  reading.Wait();
  decoding.Wait();

  int chunks = 0;
  bool last_was_chunk = false;
  for (const std::vector<Segment>& step : recorder.steps()) {
    ASSERT_EQ(step.size(), 1);
    const bool chunk = step[0].slot == 1;
    EXPECT_FALSE(chunk && last_was_chunk) << "decoding paused for two chunks";
    last_was_chunk = chunk;
    chunks += chunk;
  }
  EXPECT_EQ(chunks, 10);
}

TEST(EngineOrderTest, PutsSeveralPromptsIntoOneStep) {
  Rig rig({.slots = 4, .limits = {.max_batch_tokens = 512}});
  StepGate gate(*rig.backend);
  Listener first;
  ASSERT_TRUE(rig.engine->Submit(Job(first, 2, 1)).ok());
  gate.WaitUntilHeld();
  Recorder recorder(*rig.backend);
  std::deque<Listener> others(3);
  for (Listener& other : others) {
    ASSERT_TRUE(rig.engine->Submit(Job(other, 100, 1)).ok());
  }
  gate.Open();
  for (Listener& other : others) other.Wait();
  ASSERT_EQ(recorder.steps().size(), 1);
  EXPECT_EQ(recorder.steps()[0].size(), 3);
}

TEST(EngineOrderTest, NeverFeedsTheLastToken) {
  Rig rig({.slots = 1});
  Recorder recorder(*rig.backend);
  Listener listener;
  ASSERT_TRUE(rig.engine->Submit(Job(listener, 5, 4)).ok());
  listener.Wait();
  EXPECT_TRUE(rig.engine->WaitIdle(Clock::now() + std::chrono::seconds(30)));
  const auto steps = recorder.steps();
  // One chunk gives the first token, three fed tokens the others.
  ASSERT_EQ(steps.size(), 4);
  EXPECT_EQ(steps.back()[0].position, 7);
}

TEST(EngineOrderTest, CountsItsStepsInTheMetrics) {
  Rig rig({.slots = 2});
  Listener listener;
  ASSERT_TRUE(rig.engine->Submit(Job(listener, 300, 5)).ok());
  const GenerationEnd end = listener.Wait();
  EXPECT_EQ(rig.Metric("chela_prompt_tokens_total"), 300);
  EXPECT_EQ(rig.Metric("chela_generated_tokens_total"), 5);
  EXPECT_EQ(rig.Metric("chela_finished_total", ",reason=\"length\""), 1);
  EXPECT_EQ(rig.Metric("chela_batch_sequences_count"), 6);
  EXPECT_EQ(rig.Metric("chela_batch_tokens_sum"), 304);
  const auto phase = [&rig](const char* name) {
    return rig.Metric("chela_step_duration_seconds_count",
                      ",phase=\"" + std::string(name) + "\"");
  };
  EXPECT_EQ(phase("prefill"), 2);
  EXPECT_EQ(phase("decode"), 4);
  EXPECT_EQ(phase("sample"), 6);
  EXPECT_EQ(rig.Metric("chela_time_to_first_token_seconds_count"), 1);
  EXPECT_EQ(rig.Metric("chela_inter_token_latency_seconds_count"), 4);
  EXPECT_EQ(rig.Metric("chela_queue_duration_seconds_count"), 1);
  EXPECT_EQ(rig.Metric("chela_requests_running"), 0);
  EXPECT_EQ(rig.Metric("chela_state_slots", ",state=\"free\""), 2);
  EXPECT_EQ(rig.Metric("chela_state_bytes"), 2.0 * rig.pool->slot_bytes());

  EXPECT_EQ(end.usage.prompt_tokens, 300);
  EXPECT_EQ(end.usage.cached_prompt_tokens, 0);
  EXPECT_EQ(end.usage.generated_tokens, 5);
  EXPECT_GT(end.usage.queue_seconds, 0);
  EXPECT_GT(end.usage.prefill_seconds, 0);
  EXPECT_GT(end.usage.decode_seconds, 0);
  EXPECT_NEAR(end.usage.time_to_first_token_seconds,
              end.usage.queue_seconds + end.usage.prefill_seconds, 1e-9);
}

}  // namespace
}  // namespace chela
