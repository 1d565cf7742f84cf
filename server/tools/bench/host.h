#ifndef CHELA_SERVER_TOOLS_BENCH_HOST_H_
#define CHELA_SERVER_TOOLS_BENCH_HOST_H_

#include <cstdint>

#include "nlohmann/json.hpp"

namespace chela::bench {

// Size of the last-level cache that the first core sees; 32 MiB if the system
// does not say.
int64_t LastLevelCacheBytes();

// Seconds that other guests of this machine's host took from its cores since
// it started, summed over the cores.
double StealSeconds();

// Cores of the machine, also those this process may not use.
int32_t HostCores();

// {"cpu", "cores", "usable_cores", "last_level_cache_bytes", "memory_bytes",
// "kernel", "load_average"}: what a figure must be quoted with.
nlohmann::json DescribeHost();

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_HOST_H_
