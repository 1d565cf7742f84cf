#include "server/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/metrics_page.h"

namespace chela {
namespace {

using test_support::LinesStartingWith;
using test_support::ValueOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(MetricsTest, CountsAnRpcUnderItsNameAndCode) {
  Metrics metrics("m");
  metrics.RequestFinished("score_stream", "CANCELLED", 0.2);
  metrics.RequestFinished("score_stream", "CANCELLED", 0.3);
  const std::string page = metrics.Render();
  EXPECT_EQ(ValueOf(page,
                    "chela_requests_total{model=\"m\",code=\"CANCELLED\",rpc="
                    "\"score_stream\"}"),
            2);
  EXPECT_EQ(ValueOf(page,
                    "chela_requests_total{model=\"m\",code=\"OK\",rpc="
                    "\"score_stream\"}"),
            0);
  EXPECT_NEAR(ValueOf(page,
                      "chela_request_duration_seconds_sum{model=\"m\",rpc="
                      "\"score_stream\"}"),
              0.5, 1e-12);
}

TEST(MetricsTest, ObservesOnlyThePhasesThatRan) {
  Metrics metrics("m");
  metrics.ObserveStep("cpu", {.sequences = 3,
                              .tokens = 200,
                              .prefill_seconds = 0.01,
                              .sample_seconds = 0.001});
  const std::string page = metrics.Render();
  const auto count = [&page](const std::string& phase) {
    return ValueOf(
        page, "chela_step_duration_seconds_count{model=\"m\",phase=\"" + phase +
                  "\"}");
  };
  EXPECT_EQ(count("prefill"), 1);
  EXPECT_EQ(count("decode"), 0);
  EXPECT_EQ(count("sample"), 1);
  EXPECT_EQ(ValueOf(page, "chela_batch_sequences_sum{model=\"m\"}"), 3);
  EXPECT_EQ(ValueOf(page, "chela_batch_tokens_bucket{model=\"m\",le=\"128\"}"),
            0);
  EXPECT_EQ(ValueOf(page, "chela_batch_tokens_bucket{model=\"m\",le=\"256\"}"),
            1);
}

TEST(MetricsTest, SetsGaugesAndAddsToCounters) {
  Metrics metrics("m");
  metrics.SetQueue(1, 2, 300);
  metrics.SetSlots("cuda:0", {.free = 3, .active = 2, .cached = 4, .bytes = 1});
  metrics.SetSlots("cuda:1",
                   {.free = 2, .active = 4, .cached = 3, .bytes = 4000});
  metrics.SetSlots("cuda:0",
                   {.free = 3, .active = 2, .cached = 4, .bytes = 4000});
  metrics.AddPromptTokens(10, 4);
  metrics.AddPromptTokens(5, 0);
  metrics.AddGeneratedTokens(3);
  metrics.AdmissionRejected("queue_full");
  metrics.GenerationFinished("eos");
  const std::string page = metrics.Render();
  const std::string m = "{model=\"m\"}";
  EXPECT_EQ(ValueOf(page, "chela_requests_running" + m), 1);
  EXPECT_EQ(ValueOf(page, "chela_requests_waiting" + m), 2);
  EXPECT_EQ(ValueOf(page, "chela_queued_tokens" + m), 300);
  EXPECT_EQ(ValueOf(page, "chela_state_slots{model=\"m\",state=\"free\"}"), 5);
  EXPECT_EQ(ValueOf(page, "chela_state_slots{model=\"m\",state=\"active\"}"),
            6);
  EXPECT_EQ(ValueOf(page, "chela_state_slots{model=\"m\",state=\"cached\"}"),
            7);
  EXPECT_EQ(ValueOf(page, "chela_state_bytes" + m), 8000);
  EXPECT_EQ(ValueOf(page, "chela_prompt_tokens_total" + m), 15);
  EXPECT_EQ(ValueOf(page, "chela_cached_prompt_tokens_total" + m), 4);
  EXPECT_EQ(ValueOf(page, "chela_generated_tokens_total" + m), 3);
  EXPECT_EQ(ValueOf(page,
                    "chela_admission_rejections_total{model=\"m\","
                    "reason=\"queue_full\"}"),
            1);
  EXPECT_EQ(ValueOf(page, "chela_finished_total{model=\"m\",reason=\"eos\"}"),
            1);
}

TEST(MetricsTest, AddsUpThePrefixCachesOfAllDevices) {
  Metrics metrics("m");
  metrics.AddPrefixCacheTokens(20, 16, "host");
  metrics.AddPrefixCacheTokens(10, 0, "none");
  metrics.AddPrefixCache({.host_bytes = 900,
                          .pinned_bytes = 300,
                          .disk_bytes = 70,
                          .evictions = 2});
  metrics.AddPrefixCache({.host_bytes = -100,
                          .pinned_bytes = -50,
                          .disk_bytes = -10,
                          .evictions = 1});
  const std::string page = metrics.Render();
  const std::string m = "{model=\"m\"}";
  EXPECT_EQ(ValueOf(page, "chela_prefix_cache_queries_total" + m), 30);
  EXPECT_EQ(ValueOf(page, "chela_prefix_cache_hits_total" + m), 16);
  EXPECT_EQ(ValueOf(page, "chela_prefix_cache_evictions_total" + m), 3);
  EXPECT_EQ(ValueOf(page, "chela_prefix_cache_bytes" + m), 800);
  EXPECT_EQ(ValueOf(page, "chela_prefix_cache_pinned_bytes" + m), 250);
  EXPECT_EQ(ValueOf(page, "chela_prefix_cache_disk_bytes" + m), 60);
  const std::string tier_hits = "chela_prefix_cache_tier_hits_total";
  EXPECT_EQ(ValueOf(page, tier_hits + "{model=\"m\",tier=\"host\"}"), 16);
  EXPECT_EQ(ValueOf(page, tier_hits + "{model=\"m\",tier=\"disk\"}"), 0);
}

TEST(MetricsTest, TakesTimesInSeconds) {
  Metrics metrics("m");
  metrics.ObserveQueue(1);
  metrics.ObserveTimeToFirstToken(2);
  metrics.ObserveInterTokenLatency(3);
  metrics.ObserveCancelToFree(4);
  const std::string page = metrics.Render();
  const std::string m = "{model=\"m\"}";
  EXPECT_EQ(ValueOf(page, "chela_queue_duration_seconds_sum" + m), 1);
  EXPECT_EQ(ValueOf(page, "chela_time_to_first_token_seconds_sum" + m), 2);
  EXPECT_EQ(ValueOf(page, "chela_inter_token_latency_seconds_sum" + m), 3);
  EXPECT_EQ(ValueOf(page, "chela_cancel_to_free_seconds_sum" + m), 4);
}

TEST(MetricsTest, TellsDevicesApart) {
  Metrics metrics("m");
  EXPECT_EQ(metrics.Render().find("device="), std::string::npos);
  metrics.SetSlots("cuda:0", {.free = 3, .active = 2, .cached = 4});
  metrics.SetSlots("cuda:1", {.free = 1});
  metrics.SetDeviceMemory(
      "cuda:1", {.weights = 10, .activations = 20, .states = 30, .other = 40});
  const std::string page = metrics.Render();
  const auto value = [&page](const std::string& name,
                             const std::string& labels) {
    return ValueOf(page, name + "{model=\"m\",device=\"cuda:" + labels + "}");
  };
  EXPECT_EQ(value("chela_device_state_slots", "0\",state=\"free\""), 3);
  EXPECT_EQ(value("chela_device_state_slots", "0\",state=\"active\""), 2);
  EXPECT_EQ(value("chela_device_state_slots", "0\",state=\"cached\""), 4);
  EXPECT_EQ(value("chela_device_state_slots", "1\",state=\"free\""), 1);
  EXPECT_EQ(value("chela_device_memory_bytes", "1\",kind=\"weights\""), 10);
  EXPECT_EQ(value("chela_device_memory_bytes", "1\",kind=\"activations\""), 20);
  EXPECT_EQ(value("chela_device_memory_bytes", "1\",kind=\"states\""), 30);
  EXPECT_EQ(value("chela_device_memory_bytes", "1\",kind=\"other\""), 40);
}

TEST(MetricsTest, TheUtilizationIsThatSinceTheLastPage) {
  Metrics metrics("m");
  const auto utilization = [&metrics](const std::string& device) {
    return ValueOf(metrics.Render(),
                   "chela_device_utilization_ratio{model=\"m\",device=\"" +
                       device + "\"}");
  };
  metrics.ObserveStep("a", {.decode_seconds = 1000});
  metrics.ObserveStep("b", {.sequences = 1});
  EXPECT_EQ(utilization("a"), 1);  // Of a step that began before the page.
  EXPECT_EQ(utilization("a"), 0);
  const auto start = std::chrono::steady_clock::now();
  metrics.ObserveStep("b", {.prefill_seconds = 0.002, .decode_seconds = 0.003});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const double ratio = utilization("b");
  const std::chrono::duration<double> passed =
      std::chrono::steady_clock::now() - start;
  EXPECT_LE(ratio, 0.005 / 0.02);
  EXPECT_GE(ratio, 0.005 / (passed.count() + 0.5));
}

TEST(MetricsTest, ReplacesAnInfoMetricWhenItIsSetAgain) {
  Metrics metrics("m");
  metrics.SetModelInfo({{"fingerprint", "old"}});
  metrics.SetModelInfo({{"fingerprint", "new"}});
  const std::string page = metrics.Render();
  EXPECT_EQ(ValueOf(page, "chela_model_info{model=\"m\",fingerprint=\"new\"}"),
            1);
  EXPECT_EQ(LinesStartingWith(page, "chela_model_info{"), 1);
}

TEST(MetricsTest, EscapesAModelNameWithQuotesAndNewlines) {
  const std::string page = Metrics("a\"b\\c\nd").Render();
  EXPECT_THAT(page, HasSubstr(R"(model="a\"b\\c\nd")"));
}

TEST(MetricsTest, RendersWhileOthersCount) {
  Metrics metrics("m");
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&metrics] {
      for (int n = 0; n < 200; ++n) {
        metrics.AddGeneratedTokens(1);
        metrics.ObserveStep("cpu", {.sequences = 1, .tokens = 1});
        metrics.SetBuildInfo({{"version", std::to_string(n % 2)}});
      }
    });
  }
  for (int n = 0; n < 5; ++n) EXPECT_THAT(metrics.Render(), Not(IsEmpty()));
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(
      ValueOf(metrics.Render(), "chela_generated_tokens_total{model=\"m\"}"),
      600);
}

}  // namespace
}  // namespace chela
