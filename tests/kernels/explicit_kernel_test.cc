#include "kernels/cpu/explicit_kernel.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/choose_kernels.h"
#include "kernels/cpu/thread_pool.h"

namespace chela {
namespace {

constexpr int64_t kAmple = int64_t{1} << 40;

std::unique_ptr<CpuExplicitKernel> MakeKernel(int32_t width, int64_t length) {
  const std::vector<float> taps(static_cast<size_t>(width * length), 0.0f);
  ThreadPool pool(2);
  auto kernel = CpuExplicitKernel::Make(taps.data(), width, length,
                                        ChooseKernels(CpuKernels::kAvx512Bf16),
                                        pool, kAmple);
  EXPECT_TRUE(kernel.ok()) << kernel.status();
  return *std::move(kernel);
}

// Row operations of the tile that unit time `tau` ends with: a transform and
// back of U complex points, at four operations a point and stage, three of
// them for the product.
double TileWork(const CpuExplicitKernel& kernel, int64_t tau) {
  const auto low_bit = static_cast<int64_t>(
      uint64_t{1} << std::countr_zero(static_cast<uint64_t>(tau + 1)));
  const int64_t size = std::min(low_bit, kernel.ring());
  if (size < kernel.near()) return 0;
  const int stages = std::bit_width(static_cast<uint64_t>(size)) - 1;
  return static_cast<double>(size) * (8 * stages + 3);
}

struct Spread {
  double mean = 0;
  double busiest = 0;
};

// Tile work of each step of one sequence, over two turns of the ring.
Spread Measure(const CpuExplicitKernel& kernel, int32_t layers) {
  Spread spread;
  const int64_t steps = 2 * kernel.ring();
  for (int64_t t = 0; t < steps; ++t) {
    double work = 0;
    for (int32_t layer = 0; layer < layers; ++layer) {
      for (int64_t group = 0; group < kernel.groups(); ++group) {
        work += TileWork(kernel, t + kernel.Origin(layer, group));
      }
    }
    spread.mean += work / static_cast<double>(steps);
    spread.busiest = std::max(spread.busiest, work);
  }
  return spread;
}

TEST(CpuExplicitKernelTest, RingIsTheSmallestPowerOfTwoThatHoldsTheTaps) {
  EXPECT_EQ(MakeKernel(1, 1)->ring(), 1);
  EXPECT_EQ(MakeKernel(1, 3)->ring(), 4);
  EXPECT_EQ(MakeKernel(1, 64)->ring(), 64);
  EXPECT_EQ(MakeKernel(1, 65)->ring(), 128);
  EXPECT_EQ(MakeKernel(1, 65536)->ring(), 65536);
}

TEST(CpuExplicitKernelTest, RefusesAKernelThatDoesNotFit) {
  const std::vector<float> taps(16 * 1000, 0.0f);
  ThreadPool pool(1);
  const auto kernel = CpuExplicitKernel::Make(
      taps.data(), 16, 1000, ChooseKernels(CpuKernels::kGeneric), pool, 9999);
  EXPECT_EQ(kernel.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(kernel.status().message()),
              ::testing::HasSubstr("9999 free"));
}

TEST(CpuExplicitKernelTest, OriginsLieInTheRing) {
  for (const int64_t length : {1, 2, 3, 100}) {
    const auto kernel = MakeKernel(64, length);
    for (int32_t layer = 0; layer < 50; ++layer) {
      for (int64_t group = 0; group < kernel->groups(); ++group) {
        EXPECT_GE(kernel->Origin(layer, group), 0);
        EXPECT_LT(kernel->Origin(layer, group), kernel->ring());
      }
    }
  }
}

TEST(CpuExplicitKernelTest, LayersAndGroupsHaveOriginsOfTheirOwn) {
  const auto kernel = MakeKernel(64, 1024);
  std::set<int64_t> origins;
  for (int32_t layer = 0; layer < 8; ++layer) {
    for (int64_t group = 0; group < kernel->groups(); ++group) {
      origins.insert(kernel->Origin(layer, group));
    }
  }
  EXPECT_EQ(origins.size(), 8 * static_cast<size_t>(kernel->groups()));
}

TEST(CpuExplicitKernelTest, TheBusiestStepIsCloseToTheMean) {
  // As many units (32 layers of 32 groups) as the ring has rows: each step has
  // about one of the largest tiles.
  const Spread spread = Measure(*MakeKernel(1024, 1024), 32);
  EXPECT_LE(spread.busiest / spread.mean, 1.3);
}

TEST(CpuExplicitKernelTest, OneOriginForAllWouldPileTheTilesUp) {
  // What the origins are for, and that the measure sees it: a single unit's
  // busiest step.
  const Spread spread = Measure(*MakeKernel(kGroupChannels, 1024), 1);
  EXPECT_GE(spread.busiest / spread.mean, 100);
}

TEST(CpuExplicitKernelTest, WorkOfATokenGrowsAsTheSquareOfTheLogarithm) {
  for (const int64_t length : {256, 1024, 8192}) {
    const auto kernel = MakeKernel(kGroupChannels, length);
    const double log = std::bit_width(static_cast<uint64_t>(length)) - 1;
    // Each of at most log N levels costs about 4 log N + 2 a token, and the
    // largest twice that.
    EXPECT_LE(Measure(*kernel, 1).mean, 4 * log * (log + 1)) << length;
  }
}

}  // namespace
}  // namespace chela
