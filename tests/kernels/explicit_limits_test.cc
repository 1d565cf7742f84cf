// The explicit convolution far from the start, what its kernels hold, and what
// it refuses.
#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "tests/kernels/explicit_rig.h"

namespace chela {
namespace {

using Rig = ExplicitRig;
using ExplicitLimitsTest = ExplicitConvolutionTest;

TEST_P(ExplicitLimitsTest, EveryLayerGivesTheSameNumbers) {
  const auto kernel = RandomKernel(48, 128);
  const int32_t tokens = 400;
  const auto a = RandomFloats(int64_t{tokens} * kernel.width, -1, 1, 3);
  const auto want = Definition(kernel, a);
  for (int32_t layer = 0; layer < 8; ++layer) {
    Rig rig(backend(), kernel, 1, layer);
    EXPECT_LE(RelativeError(rig.RunSequence(0, a, {tokens}), want),
              kRelativeError);
  }
}

TEST_P(ExplicitLimitsTest, ContinuesAtPositionsFarFromTheStart) {
  // Past the first turn of the ring a step depends on the position modulo
  // twice the ring only, so a far position must give the bits of a near one.
  for (const int32_t length : {100, 2048}) {
    const auto kernel = RandomKernel(24, length);
    const int32_t ring = length == 100 ? 128 : length;
    const int32_t seen = 2 * ring + ring / 3;
    const int32_t rows = ring + ring / 6;
    const auto a = RandomFloats(int64_t{seen} * kernel.width, -1, 1, 3);
    const auto next = RandomFloats(int64_t{rows} * kernel.width, -1, 1, 4);
    Rig rig(backend(), kernel, 2);
    rig.RunSequence(0, a, {seen});
    rig.WriteSlot(1, rig.ReadSlot(0));
    const auto want =
        rig.Step(Rows({{.slot = 0, .rows = rows, .position = seen}}), next);
    const int64_t far = seen + 2 * int64_t{ring} * 40'000'000;
    EXPECT_GT(far, int64_t{10'000'000'000});
    ExpectSameBits(
        rig.Step(Rows({{.slot = 1, .rows = rows, .position = far}}), next),
        want);
    ExpectSameBits(rig.ReadSlot(1), rig.ReadSlot(0));
  }
}

TEST_P(ExplicitLimitsTest, AKernelSaysWhatItHolds) {
  for (const auto& [length, floats] : std::vector<std::pair<int64_t, size_t>>{
           {1000, 4 * 1024}, {4000, 6 * 4096 + 2 * 1024}}) {
    const auto kernel = RandomKernel(33, length);
    const auto made =
        backend().MakeExplicitKernel(kernel.kernel.data(), 33, length);
    ASSERT_TRUE(made.ok()) << made.status();
    EXPECT_EQ((*made)->width(), 33);
    EXPECT_EQ((*made)->length(), length);
    // At least the taps; at most spectra of 4M floats for 64 padded channels, a
    // GPU's of blocks of 1024, beside taps and twiddles.
    EXPECT_GE((*made)->size_bytes(), static_cast<size_t>(33 * length * 4));
    EXPECT_LE((*made)->size_bytes(),
              64 * floats * 4 + static_cast<size_t>(length) * 64);
  }
}

TEST_P(ExplicitLimitsTest, RefusesKernelsWithoutWidthOrLength) {
  const float tap = 1;
  for (const auto& [width, length] : std::vector<std::pair<int32_t, int64_t>>{
           {0, 1}, {-1, 1}, {1, 0}, {1, -3}, {1, int64_t{1} << 40}}) {
    EXPECT_EQ(backend().MakeExplicitKernel(&tap, width, length).status().code(),
              absl::StatusCode::kInvalidArgument)
        << width << " x " << length;
  }
}

class ForeignKernel : public ExplicitKernel {
 public:
  int32_t width() const override { return 1; }
  int64_t length() const override { return 1; }
  size_t size_bytes() const override { return 0; }
};

TEST_P(ExplicitLimitsTest, RefusesWhatItCannotRunBeforeAnyWrite) {
  const float tap = 1;
  const auto kernel = backend().MakeExplicitKernel(&tap, 1, 1);
  ASSERT_TRUE(kernel.ok());
  const ForeignKernel foreign;
  Tensor memory(backend(), 8);
  const ExplicitConvolution good{.kernel = kernel->get(),
                                 .a = memory.data(),
                                 .skip = memory.data(),
                                 .state = {memory.data(), 1},
                                 .c = memory.data()};
  std::vector<ExplicitConvolution> bad(4, good);
  bad[0].kernel = nullptr;
  bad[1].kernel = &foreign;
  bad[2].layer = -1;
  bad[3].state.slot_stride = 0;
  const Rows rows({{.slot = 0, .rows = 1}, {.slot = 1, .rows = 1}});
  ASSERT_TRUE(backend().BeginStep(rows.step()).ok());
  for (const auto& op : bad) {
    EXPECT_EQ(backend().Run(op).code(), absl::StatusCode::kInvalidArgument);
  }
  ExpectSameBits(memory.Read(), std::vector<float>(8, kPoison));
}

CHELA_ON_EVERY_BACKEND(ExplicitLimitsTest);

}  // namespace
}  // namespace chela
