// The hierarchical convolution far from the start, and what it refuses.
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "tests/kernels/hierarchical_rig.h"

namespace chela {
namespace {

using HierarchicalLimitsTest = KernelTest;

// Finite inputs at any position, without a history in memory.
double FarInput(int64_t position, int32_t channel) {
  const uint64_t mixed =
      static_cast<uint64_t>(position * 31 + channel) * 0x9e3779b97f4a7c15u;
  return static_cast<double>(mixed >> 44) * 0x1p-19 - 1;  // exact in float
}

TEST_P(HierarchicalLimitsTest, ContinuesAtPositionsFarFromTheStart) {
  const auto kernel = RandomKernel(9, 8, 4);
  const int32_t tokens = 45;
  // The first crosses a position where every level changes.
  for (const int64_t position :
       {(int64_t{1} << 33) - 20, int64_t{3'000'000'007}, int64_t{1} << 50}) {
    SCOPED_TRACE(position);
    std::vector<float> state;
    for (const auto& value :
         reference::HierarchicalState(kernel, FarInput, position)) {
      state.push_back(static_cast<float>(value.value));
    }
    std::vector<float> a;
    for (int32_t t = 0; t < tokens; ++t) {
      for (int32_t j = 0; j < kernel.width; ++j) {
        a.push_back(static_cast<float>(FarInput(position + t, j)));
      }
    }
    HierarchicalRig rig(backend(), kernel, 2);
    rig.WriteSlot(1, state);
    const auto c =
        rig.Step(Rows({{.slot = 1, .rows = tokens, .position = position}}), a);
    ExpectClose(c, Definition(kernel, FarInput, position, tokens),
                Roundings(kernel));
    ExpectClose(
        rig.ReadSlot(1),
        reference::HierarchicalState(kernel, FarInput, position + tokens),
        Roundings(kernel));
  }
}

TEST_P(HierarchicalLimitsTest, RefusesSizesOutOfRangeBeforeAnyWrite) {
  const auto kernel = RandomKernel(4, 4, 1);
  Tensor memory(backend(), 64);
  HierarchicalConvolution good{.width = 4,
                               .base_length = 4,
                               .levels = 1,
                               .a = memory.data(),
                               .taps0 = memory.data(),
                               .taps = memory.data(),
                               .skip = memory.data(),
                               .state = {memory.data(), 32},
                               .c = memory.data()};
  std::vector<HierarchicalConvolution> bad(6, good);
  bad[0].width = 0;
  bad[1].base_length = 2;
  bad[2].base_length = 5;
  bad[3].levels = 0;
  bad[4].levels = 99;
  bad[5].state.slot_stride = 31;
  const Rows rows({{.slot = 0, .rows = 1}, {.slot = 1, .rows = 1}});
  ASSERT_TRUE(backend().BeginStep(rows.step()).ok());
  for (const auto& op : bad) {
    EXPECT_EQ(backend().Run(op).code(), absl::StatusCode::kInvalidArgument);
  }
  ExpectSameBits(memory.Read(), std::vector<float>(64, kPoison));
}

TEST_P(HierarchicalLimitsTest, AStepWithoutRowsDoesNothing) {
  const auto kernel = RandomKernel(4, 4, 1);
  HierarchicalRig rig(backend(), kernel, 1);
  const auto before = rig.ReadSlot(0);
  EXPECT_TRUE(backend().BeginStep(StepRows{}).ok());
  rig.Step(Rows({}), {});
  ExpectSameBits(rig.ReadSlot(0), before);
}

CHELA_ON_EVERY_BACKEND(HierarchicalLimitsTest);

}  // namespace
}  // namespace chela
