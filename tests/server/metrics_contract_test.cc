// The names, labels and buckets that dashboards rely on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "server/metrics/metrics.h"
#include "tests/server/metrics_page.h"

namespace chela {
namespace {

using test_support::LinesStartingWith;
using test_support::ValueOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(MetricsContractTest, ShowsEveryClosedLabelAtZeroFromTheStart) {
  const std::string page = Metrics("demo").Render();
  EXPECT_EQ(LinesStartingWith(page, "chela_requests_total{"), 15 * 17);
  EXPECT_EQ(LinesStartingWith(page, "chela_request_duration_seconds_count{"),
            15);
  EXPECT_EQ(LinesStartingWith(page, "chela_admission_rejections_total{"), 5);
  EXPECT_EQ(LinesStartingWith(page, "chela_finished_total{"), 6);
  EXPECT_EQ(LinesStartingWith(page, "chela_step_duration_seconds_count{"), 3);
  EXPECT_EQ(LinesStartingWith(page, "chela_state_slots{"), 3);
  EXPECT_EQ(LinesStartingWith(page, "chela_sessions{"), 2);
  EXPECT_EQ(LinesStartingWith(page, "chela_session_operations_total{"), 8 * 10);
  EXPECT_EQ(
      LinesStartingWith(page, "chela_session_operation_duration_seconds_count"),
      8);
  EXPECT_EQ(
      ValueOf(page, "chela_finished_total{model=\"demo\",reason=\"length\"}"),
      0);
}

TEST(MetricsContractTest, NamesEveryMetricOfTheContract) {
  Metrics metrics("demo");
  metrics.SetModelInfo({{"fingerprint", "0123"}});
  metrics.SetBuildInfo({{"version", "0.1.0"}});
  const std::string page = metrics.Render();
  for (const char* name : {"chela_requests_total counter",
                           "chela_requests_running gauge",
                           "chela_requests_waiting gauge",
                           "chela_queued_tokens gauge",
                           "chela_time_to_first_token_seconds histogram",
                           "chela_inter_token_latency_seconds histogram",
                           "chela_request_duration_seconds histogram",
                           "chela_queue_duration_seconds histogram",
                           "chela_prompt_tokens_total counter",
                           "chela_generated_tokens_total counter",
                           "chela_cached_prompt_tokens_total counter",
                           "chela_prefix_cache_queries_total counter",
                           "chela_prefix_cache_hits_total counter",
                           "chela_prefix_cache_evictions_total counter",
                           "chela_prefix_cache_bytes gauge",
                           "chela_prefix_cache_pinned_bytes gauge",
                           "chela_finished_total counter",
                           "chela_admission_rejections_total counter",
                           "chela_batch_sequences histogram",
                           "chela_batch_tokens histogram",
                           "chela_step_duration_seconds histogram",
                           "chela_state_slots gauge",
                           "chela_state_bytes gauge",
                           "chela_cancel_to_free_seconds histogram",
                           "chela_sessions gauge",
                           "chela_session_operations_total counter",
                           "chela_session_operation_duration_seconds histogram",
                           "chela_model_info gauge",
                           "chela_build_info gauge",
                           "process_cpu_seconds_total counter",
                           "process_resident_memory_bytes gauge",
                           "process_virtual_memory_bytes gauge",
                           "process_open_fds gauge",
                           "process_max_fds gauge",
                           "process_start_time_seconds gauge",
                           "process_threads gauge"}) {
    EXPECT_THAT(page, HasSubstr(std::string("# TYPE ") + name + "\n"));
  }
}

TEST(MetricsContractTest,
     LabelsEveryChelaSeriesWithTheModelAndNoProcessSeries) {
  std::istringstream lines(Metrics("my model").Render());
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, 6, "chela_") == 0) {
      EXPECT_THAT(line, HasSubstr("model=\"my model\""));
    } else if (line.compare(0, 8, "process_") == 0) {
      EXPECT_THAT(line, Not(HasSubstr("model=")));
    } else {
      EXPECT_EQ(line.at(0), '#') << line;
    }
  }
}

TEST(MetricsContractTest, CutsTheBucketsOfTheContract) {
  const std::string page = Metrics("m").Render();
  const auto bounds = [&page](const std::string& name) {
    std::vector<std::string> found;
    const std::string start = name + "_bucket{model=\"m\",le=\"";
    std::istringstream lines(page);
    for (std::string line; std::getline(lines, line);) {
      if (line.compare(0, start.size(), start) != 0) continue;
      found.push_back(line.substr(start.size(),
                                  line.find('"', start.size()) - start.size()));
    }
    return found;
  };
  EXPECT_EQ(bounds("chela_time_to_first_token_seconds"),
            (std::vector<std::string>{"0.001", "0.0025", "0.005", "0.01",
                                      "0.025", "0.05", "0.1", "0.25", "0.5",
                                      "1", "2.5", "5", "10", "30", "+Inf"}));
  EXPECT_EQ(
      bounds("chela_inter_token_latency_seconds"),
      (std::vector<std::string>{"0.0001", "0.00025", "0.0005", "0.001", "0.002",
                                "0.003", "0.005", "0.0075", "0.01", "0.02",
                                "0.05", "0.1", "0.25", "0.5", "1", "+Inf"}));
}

TEST(MetricsContractTest, NeverGrowsASeriesForALabelOutsideTheClosedSet) {
  Metrics metrics("m");
  metrics.RequestFinished("steal", "OK", 1);
  metrics.RequestFinished("score", "EVIL", 1);
  metrics.AdmissionRejected("bored");
  metrics.GenerationFinished("tired");
  const std::string page = metrics.Render();
  for (const char* word : {"steal", "EVIL", "bored", "tired"}) {
    EXPECT_THAT(page, Not(HasSubstr(word)));
  }
  EXPECT_EQ(ValueOf(page,
                    "chela_requests_total{model=\"m\",code=\"UNKNOWN\",rpc="
                    "\"score\"}"),
            1);
}

TEST(MetricsContractTest, PassesPromtoolWhereItIsInstalled) {
  if (std::system("command -v promtool >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "no promtool on this machine";
  }
  Metrics metrics("m");
  metrics.SetModelInfo({{"fingerprint", "0123"}});
  metrics.SetBuildInfo({{"version", "0.1.0"}});
  const std::string path =
      ::testing::TempDir() + "chela_page_" + std::to_string(getpid());
  std::ofstream(path) << metrics.Render();
  EXPECT_EQ(std::system(("promtool check metrics < " + path).c_str()), 0);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace chela
