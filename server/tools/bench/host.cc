#include "server/tools/bench/host.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string>

#include "kernels/cpu/machine.h"

namespace chela::bench {

int64_t LastLevelCacheBytes() {
  for (const char* index : {"4", "3", "2"}) {
    std::ifstream file(std::string("/sys/devices/system/cpu/cpu0/cache/index") +
                       index + "/size");
    int64_t kibibytes = 0;
    if (file >> kibibytes && kibibytes > 0) return kibibytes * 1024;
  }
  return int64_t{32} << 20;
}

CoreTimes ReadCoreTimes() {
  std::ifstream file("/proc/stat");
  std::string line;
  std::getline(file, line);
  std::istringstream fields(line);
  std::string name;
  // cpu user nice system idle iowait irq softirq steal
  double user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft = 0;
  CoreTimes times;
  fields >> name >> user >> nice >> system >> idle >> wait >> irq >> soft >>
      times.steal_seconds;
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  timespec own = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
  const double own_seconds =
      static_cast<double>(own.tv_sec) + 1e-9 * static_cast<double>(own.tv_nsec);
  times.steal_seconds /= ticks;
  times.others_seconds = (user + nice + system + irq + soft) / ticks +
                         times.steal_seconds - own_seconds;
  return times;
}

int32_t HostCores() {
  return static_cast<int32_t>(sysconf(_SC_NPROCESSORS_ONLN));
}

nlohmann::json DescribeHost() {
  utsname system = {};
  uname(&system);
  double load[3] = {};
  getloadavg(load, 3);
  return {{"cpu", ProcessorName()},
          {"cores", HostCores()},
          {"usable_cores", UsableCores()},
          {"last_level_cache_bytes", LastLevelCacheBytes()},
          {"memory_bytes",
           int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE)},
          {"kernel", std::string(system.sysname) + " " + system.release},
          {"load_average", {load[0], load[1], load[2]}}};
}

}  // namespace chela::bench
