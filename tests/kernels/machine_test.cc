#include "kernels/cpu/machine.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace chela {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

// A folder with proc and sys as some machine would show them.
class MachineTest : public ::testing::Test {
 protected:
  MachineTest() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "machine_XXXXXX").string();
    root_ = mkdtemp(pattern.data());
    Write("/proc/meminfo",
          "MemTotal:       9999999 kB\n"
          "MemAvailable:   1024000 kB\n");
  }
  ~MachineTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path full = root_ + path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << text;
  }
  int64_t FreeMiB() const { return FreeMemoryBytes(root_) / kMiB; }

  std::string root_;
};

TEST_F(MachineTest, TakesWhatTheSystemHasWithoutLimits) {
  EXPECT_EQ(FreeMiB(), 1000);
}

TEST_F(MachineTest, TakesTheLimitOfAVersion2Group) {
  Write("/proc/self/cgroup", "0::/app\n");
  Write("/sys/fs/cgroup/app/memory.max", "314572800\n");      // 300 MiB
  Write("/sys/fs/cgroup/app/memory.current", "104857600\n");  // 100 MiB
  EXPECT_EQ(FreeMiB(), 200);
}

TEST_F(MachineTest, CountsUnusedFilePagesAsFree) {
  Write("/proc/self/cgroup", "0::/app\n");
  Write("/sys/fs/cgroup/app/memory.max", "314572800\n");
  Write("/sys/fs/cgroup/app/memory.current", "104857600\n");
  Write("/sys/fs/cgroup/app/memory.stat", "anon 1\ninactive_file 52428800\n");
  EXPECT_EQ(FreeMiB(), 250);
}

TEST_F(MachineTest, TakesTheTightestLimitAboveTheProcess) {
  Write("/proc/self/cgroup", "0::/outer/inner\n");
  Write("/sys/fs/cgroup/outer/memory.max", "104857600\n");
  Write("/sys/fs/cgroup/outer/memory.current", "73400320\n");  // 70 of 100
  Write("/sys/fs/cgroup/outer/inner/memory.max", "max\n");
  Write("/sys/fs/cgroup/outer/inner/memory.current", "1\n");
  EXPECT_EQ(FreeMiB(), 30);
}

TEST_F(MachineTest, FindsTheLimitAtTheMountOfAContainer) {
  Write("/proc/self/cgroup", "0::/somewhere/on/the/host\n");
  Write("/sys/fs/cgroup/memory.max", "104857600\n");
  Write("/sys/fs/cgroup/memory.current", "0\n");
  EXPECT_EQ(FreeMiB(), 100);
}

TEST_F(MachineTest, TakesTheLimitOfAVersion1Group) {
  Write("/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/app\n");
  const std::string group = "/sys/fs/cgroup/memory/app/";
  Write(group + "memory.limit_in_bytes", "314572800\n");
  Write(group + "memory.usage_in_bytes", "209715200\n");
  Write(group + "memory.stat", "total_inactive_file 10485760\n");
  EXPECT_EQ(FreeMiB(), 110);
}

TEST_F(MachineTest, HasNothingLeftBeyondALimit) {
  Write("/proc/self/cgroup", "0::/app\n");
  Write("/sys/fs/cgroup/app/memory.max", "100\n");
  Write("/sys/fs/cgroup/app/memory.current", "200\n");
  EXPECT_EQ(FreeMiB(), 0);
}

TEST_F(MachineTest, UsesNoMoreCoresThanAQuotaGives) {
  const int32_t all = UsableCores(root_);
  EXPECT_GE(all, 1);
  Write("/sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_EQ(UsableCores(root_), all);
  Write("/sys/fs/cgroup/cpu.max", "50000 100000\n");
  EXPECT_EQ(UsableCores(root_), 1);
  Write("/sys/fs/cgroup/cpu.max", "990000000 100000\n");
  EXPECT_EQ(UsableCores(root_), all);
}

TEST_F(MachineTest, UsesNoMoreCoresThanAVersion1QuotaGives) {
  const int32_t all = UsableCores(root_);
  Write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  Write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(UsableCores(root_), all);
  Write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
  EXPECT_EQ(UsableCores(root_), 1);
}

TEST_F(MachineTest, ReadsWhatIsResident) {
  EXPECT_EQ(ResidentBytes(root_), 0);
  Write("/proc/self/status", "Name:\tx\nVmRSS:\t   2048 kB\nThreads:\t1\n");
  EXPECT_EQ(ResidentBytes(root_), 2 * kMiB);
}

TEST_F(MachineTest, NamesTheProcessor) {
  EXPECT_EQ(ProcessorName(root_), "unknown CPU");
  Write("/proc/cpuinfo", "processor\t: 0\nmodel name\t: Some CPU 9\n");
  EXPECT_EQ(ProcessorName(root_), "Some CPU 9");
}

TEST(RealMachineTest, HasMemoryAndCores) {
  EXPECT_GT(FreeMemoryBytes(), kMiB);
  EXPECT_GE(UsableCores(), 1);
}

}  // namespace
}  // namespace chela
