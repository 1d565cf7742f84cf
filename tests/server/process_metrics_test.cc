#include "server/metrics/process_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "server/metrics/metrics.h"
#include "tests/server/metrics_page.h"

namespace chela {
namespace {

using test_support::ValueOf;
using ::testing::IsEmpty;

TEST(ProcessMetricsTest, ReportsThisProcess) {
  const std::string page = Metrics("m").Render();
  EXPECT_GT(ValueOf(page, "process_resident_memory_bytes"), 1 << 20);
  EXPECT_GT(ValueOf(page, "process_virtual_memory_bytes"),
            ValueOf(page, "process_resident_memory_bytes"));
  EXPECT_GE(ValueOf(page, "process_open_fds"), 3);
  EXPECT_GE(ValueOf(page, "process_max_fds"), 3);
  EXPECT_GE(ValueOf(page, "process_threads"), 1);
  EXPECT_GE(ValueOf(page, "process_cpu_seconds_total"), 0);
  const double now = static_cast<double>(time(nullptr));
  EXPECT_NEAR(ValueOf(page, "process_start_time_seconds"), now, 3600);
}

TEST(ProcessMetricsTest, ReadsBehindAProgramNameWithSpacesAndParentheses) {
  const std::string proc =
      ::testing::TempDir() + "chela_proc_" + std::to_string(getpid());
  std::filesystem::create_directories(proc + "/self/fd");
  std::ofstream(proc + "/self/stat")
      << "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 100 200 13 14 15 16 7 18 500 "
         "12345 3 0\n";
  std::map<std::string, double> got;
  for (const auto& family : ProcessMetrics(proc).Collect()) {
    got[family.name] = family.type == prometheus::MetricType::Counter
                           ? family.metric.at(0).counter.value
                           : family.metric.at(0).gauge.value;
  }
  EXPECT_DOUBLE_EQ(got["process_cpu_seconds_total"],
                   300.0 / static_cast<double>(sysconf(_SC_CLK_TCK)));
  EXPECT_EQ(got["process_threads"], 7);
  EXPECT_EQ(got["process_virtual_memory_bytes"], 12345);
  EXPECT_EQ(got["process_resident_memory_bytes"],
            3.0 * static_cast<double>(sysconf(_SC_PAGESIZE)));
  EXPECT_EQ(got["process_open_fds"], 0);
  EXPECT_EQ(got.count("process_max_fds"), 0);
  EXPECT_EQ(got.count("process_start_time_seconds"), 0);
  std::filesystem::remove_all(proc);
}

TEST(ProcessMetricsTest, LeavesOutWhatCannotBeRead) {
  EXPECT_THAT(ProcessMetrics("/nonexistent").Collect(), IsEmpty());
}

}  // namespace
}  // namespace chela
