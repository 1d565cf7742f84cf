#include "kernels/cpu/machine.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

namespace chela {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

// The number that a file begins with; none if there is no file or, as in "max",
// no number.
std::optional<int64_t> ReadNumber(const std::string& path) {
  std::ifstream file(path);
  int64_t number = 0;
  if (file >> number) return number;
  return std::nullopt;
}

// The number after `key` in a file of lines "key number".
std::optional<int64_t> FindNumber(const std::string& path,
                                  const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string word;
    int64_t number = 0;
    if (words >> word && word == key && words >> number) return number;
  }
  return std::nullopt;
}

// The process's groups of one controller ("" is version 2), innermost first,
// as folders below `mount`. Inside a container the path may belong to the
// host's view; the mount itself is then the process's group.
std::vector<std::string> Groups(const std::string& root,
                                const std::string& controller,
                                const std::string& mount) {
  std::string path;
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string names =
        absl::StrCat(",", line.substr(first + 1, second - first - 1), ",");
    if (names.find(absl::StrCat(",", controller, ",")) == std::string::npos) {
      continue;
    }
    path = line.substr(second + 1);
  }
  std::vector<std::string> groups;
  const std::string base = root + mount;
  while (!path.empty() && path != "/") {
    groups.push_back(base + path);
    path.resize(path.rfind('/'));
  }
  groups.push_back(base);
  return groups;
}

// What a limit leaves. Pages of files that nothing uses are counted as used by
// the group, yet they give way.
int64_t Left(std::optional<int64_t> limit, std::optional<int64_t> used,
             std::optional<int64_t> inactive_file) {
  if (!limit.has_value() || !used.has_value()) return kNoLimit;
  const int64_t kept = std::max<int64_t>(*used - inactive_file.value_or(0), 0);
  return std::max<int64_t>(*limit - kept, 0);
}

// Cores' worth of time that a quota gives; kNoLimit without one.
int64_t QuotaCores(std::optional<int64_t> quota_us,
                   std::optional<int64_t> period_us) {
  if (!quota_us.has_value() || !period_us.has_value()) return kNoLimit;
  if (*quota_us <= 0 || *period_us <= 0) return kNoLimit;
  return (*quota_us + *period_us - 1) / *period_us;
}

}  // namespace

int64_t FreeMemoryBytes(const std::string& root) {
  int64_t free = kNoLimit;
  if (const auto kib = FindNumber(root + "/proc/meminfo", "MemAvailable:")) {
    free = *kib * 1024;
  }
  for (const std::string& group : Groups(root, "", "/sys/fs/cgroup")) {
    free = std::min(free,
                    Left(ReadNumber(group + "/memory.max"),
                         ReadNumber(group + "/memory.current"),
                         FindNumber(group + "/memory.stat", "inactive_file")));
  }
  for (const std::string& group :
       Groups(root, "memory", "/sys/fs/cgroup/memory")) {
    free = std::min(
        free, Left(ReadNumber(group + "/memory.limit_in_bytes"),
                   ReadNumber(group + "/memory.usage_in_bytes"),
                   FindNumber(group + "/memory.stat", "total_inactive_file")));
  }
  return free;
}

int64_t ResidentBytes(const std::string& root) {
  const auto kibibytes = FindNumber(root + "/proc/self/status", "VmRSS:");
  return kibibytes.value_or(0) * 1024;
}

int32_t UsableCores(const std::string& root) {
  int64_t cores = std::max(1u, std::thread::hardware_concurrency());
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) cores = CPU_COUNT(&mask);
  for (const std::string& group : Groups(root, "", "/sys/fs/cgroup")) {
    std::ifstream file(group + "/cpu.max");
    int64_t quota = 0;
    int64_t period = 0;
    if (file >> quota >> period) {
      cores = std::min(cores, QuotaCores(quota, period));
    }
  }
  for (const std::string& group : Groups(root, "cpu", "/sys/fs/cgroup/cpu")) {
    cores =
        std::min(cores, QuotaCores(ReadNumber(group + "/cpu.cfs_quota_us"),
                                   ReadNumber(group + "/cpu.cfs_period_us")));
  }
  return static_cast<int32_t>(std::max<int64_t>(cores, 1));
}

std::string ProcessorName(const std::string& root) {
  std::ifstream file(root + "/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return "unknown CPU";
}

}  // namespace chela
