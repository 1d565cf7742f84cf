#ifndef CHELA_SERVER_TOOLS_BENCH_HOST_H_
#define CHELA_SERVER_TOOLS_BENCH_HOST_H_

#include <cstdint>

#include "nlohmann/json.hpp"

namespace chela::bench {

// Size of the last-level cache that the first core sees; 32 MiB if the system
// does not say.
int64_t LastLevelCacheBytes();

// Time of the machine's cores since it started, summed over them.
struct CoreTimes {
  double steal_seconds =
      0;  // taken by other guests of a virtual machine's host
  double others_seconds = 0;  // steal, and busy with anything but this process
};
CoreTimes ReadCoreTimes();

// Cores of the machine, also those this process may not use.
int32_t HostCores();

// {"cpu", "cores", "usable_cores", "last_level_cache_bytes", "memory_bytes",
// "kernel", "load_average"}: what a figure must be quoted with.
nlohmann::json DescribeHost();

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_HOST_H_
