#ifndef CHELA_KERNELS_CPU_MACHINE_H_
#define CHELA_KERNELS_CPU_MACHINE_H_

#include <cstdint>
#include <string>

namespace chela {

// Bytes that this process can still take: the least of what the system says is
// available and of what each memory limit above the process (cgroup v2, v1)
// leaves, file pages that the kernel would drop counted as free. `root` is the
// folder that holds proc and sys; "" is the machine's own.
int64_t FreeMemoryBytes(const std::string& root = "");

// Bytes of this process that are in memory; 0 if /proc does not say.
int64_t ResidentBytes(const std::string& root = "");

// Cores that this process may use: those of its affinity mask, or fewer where
// a CPU quota (cgroup v2, v1) gives less time; at least 1.
int32_t UsableCores(const std::string& root = "");

// The processor's name, as /proc/cpuinfo gives it; "unknown CPU" if it does
// not.
std::string ProcessorName(const std::string& root = "");

}  // namespace chela

#endif  // CHELA_KERNELS_CPU_MACHINE_H_
