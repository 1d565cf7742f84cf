#include "server/metrics/process_metrics.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <system_error>
#include <utility>

namespace chela {
namespace {

// Fields of /proc/self/stat as proc(5) numbers them, from 1.
enum StatField {
  kUserTicks = 14,
  kSystemTicks = 15,
  kThreads = 20,
  kStartTicks = 22,
  kVirtualBytes = 23,
  kResidentPages = 24,
};

using Families = std::vector<prometheus::MetricFamily>;

void Add(Families& families, const char* name, const char* help,
         prometheus::MetricType type, std::optional<double> value) {
  if (!value.has_value()) return;
  prometheus::ClientMetric metric;
  if (type == prometheus::MetricType::Counter) {
    metric.counter.value = *value;
  } else {
    metric.gauge.value = *value;
  }
  families.push_back({name, help, type, {std::move(metric)}});
}

void AddGauge(Families& families, const char* name, const char* help,
              std::optional<double> value) {
  Add(families, name, help, prometheus::MetricType::Gauge, value);
}

// The numeric fields of a stat line. The second field, the program's name, may
// hold spaces and parentheses, so the count starts behind its last ')'.
class StatLine {
 public:
  explicit StatLine(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    const size_t end_of_name = line.rfind(')');
    if (end_of_name == std::string::npos) return;
    std::istringstream rest(line.substr(end_of_name + 1));
    fields_.assign(std::istream_iterator<std::string>(rest), {});
  }
  std::optional<double> Value(StatField field) const {
    constexpr int kFirstAfterName = 3;
    const size_t index = static_cast<size_t>(field - kFirstAfterName);
    if (index >= fields_.size()) return std::nullopt;
    std::istringstream text(fields_[index]);
    double value = 0;
    if (!(text >> value)) return std::nullopt;
    return value;
  }

 private:
  std::vector<std::string> fields_;
};

// The first number after `key` at the start of a line of `path`.
std::optional<double> ValueOf(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (line.compare(0, key.size(), key) != 0) continue;
    std::istringstream rest(line.substr(key.size()));
    double value = 0;
    if (rest >> value) return value;
    return std::nullopt;
  }
  return std::nullopt;
}

std::optional<double> OpenFiles(const std::string& directory) {
  std::error_code error;
  std::filesystem::directory_iterator entry(directory, error);
  if (error) return std::nullopt;
  double count = 0;
  for (const std::filesystem::directory_iterator end; !error && entry != end;
       entry.increment(error)) {
    ++count;
  }
  if (error) return std::nullopt;
  return count;
}

std::optional<double> Scaled(std::optional<double> value, double factor) {
  if (value.has_value()) *value *= factor;
  return value;
}

std::optional<double> Sum(std::optional<double> a, std::optional<double> b) {
  if (!a.has_value() || !b.has_value()) return std::nullopt;
  return *a + *b;
}

}  // namespace

ProcessMetrics::ProcessMetrics(std::string proc) : proc_(std::move(proc)) {}

Families ProcessMetrics::Collect() const {
  const double tick_seconds = 1.0 / static_cast<double>(sysconf(_SC_CLK_TCK));
  const double page_bytes = static_cast<double>(sysconf(_SC_PAGESIZE));
  const StatLine stat(proc_ + "/self/stat");
  Families families;
  Add(families, "process_cpu_seconds_total",
      "User and system CPU time spent, in seconds.",
      prometheus::MetricType::Counter,
      Scaled(Sum(stat.Value(kUserTicks), stat.Value(kSystemTicks)),
             tick_seconds));
  AddGauge(families, "process_resident_memory_bytes",
           "Resident memory size in bytes.",
           Scaled(stat.Value(kResidentPages), page_bytes));
  AddGauge(families, "process_virtual_memory_bytes",
           "Virtual memory size in bytes.", stat.Value(kVirtualBytes));
  AddGauge(families, "process_open_fds", "Number of open file descriptors.",
           OpenFiles(proc_ + "/self/fd"));
  AddGauge(families, "process_max_fds",
           "Maximum number of open file descriptors.",
           ValueOf(proc_ + "/self/limits", "Max open files"));
  AddGauge(families, "process_start_time_seconds",
           "Start time of the process since the Unix epoch, in seconds.",
           Sum(ValueOf(proc_ + "/stat", "btime"),
               Scaled(stat.Value(kStartTicks), tick_seconds)));
  AddGauge(families, "process_threads", "Number of threads of the process.",
           stat.Value(kThreads));
  return families;
}

}  // namespace chela
