#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "tests/kernels/explicit_rig.h"

namespace chela {
namespace {

using reference::PlainKernel;
using Rig = ExplicitRig;

TEST_P(ExplicitConvolutionTest, ShortKernelsMatchTheDefinitionTermByTerm) {
  for (const int64_t length : {1, 2, 3, 16, 31, 32}) {
    for (const int32_t width : {1, 7, 33, 64}) {
      SCOPED_TRACE(::testing::Message() << length << " x " << width);
      const auto kernel = RandomKernel(width, length);
      const auto tokens = static_cast<int32_t>(3 * length + 9);
      const auto a = RandomFloats(int64_t{tokens} * width, -1, 1, 3);
      Rig rig(backend(), kernel, 1);
      const auto c = rig.RunSequence(0, a, {tokens});
      // Every product is rounded once and passes at most all other sums.
      ExpectClose(c, Definition(kernel, a), static_cast<int>(length) + 6);
      rig.ExpectGapsUntouched();
    }
  }
}

TEST_P(ExplicitConvolutionTest, LongKernelsMatchTheDefinition) {
  for (const auto& [length, width] : std::vector<std::pair<int64_t, int32_t>>{
           {33, 20}, {64, 16}, {100, 33}, {128, 7}, {257, 64}, {1000, 18}}) {
    SCOPED_TRACE(::testing::Message() << length << " x " << width);
    const auto kernel = RandomKernel(width, length);
    const auto tokens = static_cast<int32_t>(3 * length + 9);
    const auto a = RandomFloats(int64_t{tokens} * width, -1, 1, 3);
    Rig rig(backend(), kernel, 1);
    const auto c = rig.RunSequence(0, a, {tokens});
    EXPECT_LE(RelativeError(c, Definition(kernel, a)), kRelativeError);
    rig.ExpectGapsUntouched();
  }
}

TEST_P(ExplicitConvolutionTest, AKernelOf8192TapsMatchesTheDefinition) {
  const auto kernel = RandomKernel(2, 8192);
  const int32_t tokens = 3 * 8192 + 5;
  const auto a = RandomFloats(int64_t{tokens} * kernel.width, -1, 1, 3);
  Rig rig(backend(), kernel, 1);
  const auto c = rig.RunSequence(0, a, {512});
  std::vector<float> got;
  std::vector<reference::Value> want;
  for (int32_t t = 11; t < tokens; t += 61) {
    got.push_back(c[2 * t + 1]);
    want.push_back(reference::ExplicitOutput(kernel, a, t, 1));
  }
  EXPECT_LE(RelativeError(got, want), kRelativeError);
}

TEST_P(ExplicitConvolutionTest, LongChunksMatchTheDefinition) {
  // Kernels of a ring of 2048 rows and more, whose chunks a GPU takes block by
  // block of 1024 rows: chunks longer than the kernel, in one block, over many,
  // ending on either side of their borders, tokens between them, from origins
  // all over the ring.
  for (const auto& [length, width] : std::vector<std::pair<int64_t, int32_t>>{
           {1025, 5}, {2048, 40}, {3000, 33}, {16384, 4}}) {
    const auto kernel = RandomKernel(width, length);
    const auto tokens = static_cast<int32_t>(2 * length + 2600);
    const auto a = RandomFloats(int64_t{tokens} * width, -1, 1, 3);
    const SampledOutputs sampled = SampleDefinition(kernel, a);
    int32_t layer = 0;
    for (const std::vector<int32_t>& sizes :
         std::vector<std::vector<int32_t>>{{tokens},
                                           {4096},
                                           {2, 1022, 1024, 1, 2047},
                                           {700, 1, 1, 2300, 333},
                                           {256}}) {
      SCOPED_TRACE(::testing::Message()
                   << length << " x " << width << ", layer " << layer << ", "
                   << ::testing::PrintToString(sizes));
      Rig rig(backend(), kernel, 1, layer);
      layer += 3;
      ExpectSampled(rig, a, sizes, sampled);
    }
  }
}

TEST_P(ExplicitConvolutionTest, TapsOfALongWindowEndExactly) {
  // An impulse, then silence: lags at and beyond N give nothing but the
  // rounding of the transforms.
  const auto kernel = RandomKernel(16, 100);
  std::vector<float> a(400 * 16, 0.0f);
  for (int32_t j = 0; j < 16; ++j) a[j] = 1;
  Rig rig(backend(), kernel, 1);
  const auto c = rig.RunSequence(0, a, {1});
  for (int64_t t = 1; t < 400; ++t) {
    for (int64_t j = 0; j < 16; ++j) {
      const float want = t < 100 ? kernel.kernel[j * 100 + t] : 0;
      // The norm of the kernel is about 6, a transform's error 2e-6 of it.
      ASSERT_NEAR(c[t * 16 + j], want, 6 * kRelativeError) << t << ", " << j;
    }
  }
}

TEST_P(ExplicitConvolutionTest, EverySplitOfAShortPromptGivesTheSameBits) {
  const auto kernel = RandomKernel(3, 3);
  const int32_t tokens = 10;
  const auto a = RandomFloats(tokens * kernel.width, -1, 1, 5);
  Rig rig(backend(), kernel, 1);
  const auto whole = rig.RunSequence(0, a, {tokens});
  for (uint32_t cuts = 1; cuts < (1u << (tokens - 1)); ++cuts) {
    SCOPED_TRACE(cuts);
    std::vector<int32_t> sizes = {1};
    for (int32_t i = 0; i < tokens - 1; ++i) {
      if ((cuts >> i & 1u) != 0) {
        sizes.push_back(1);
      } else {
        ++sizes.back();
      }
    }
    ExpectSameBits(rig.RunSequence(0, a, sizes), whole);
    if (HasFailure()) return;
  }
}

TEST_P(ExplicitConvolutionTest, SplitsOfALongPromptGiveTheSameRows) {
  for (const int64_t length : {20, 100, 256, 600}) {
    SCOPED_TRACE(length);
    const auto kernel = RandomKernel(37, length);
    const auto tokens = static_cast<int32_t>(2 * length + 77);
    const auto a = RandomFloats(int64_t{tokens} * kernel.width, -1, 1, 6);
    Rig rig(backend(), kernel, 1);
    const auto whole = rig.RunSequence(0, a, {tokens});
    const auto state = rig.ReadSlot(0);
    for (const std::vector<int32_t>& sizes : std::vector<std::vector<int32_t>>{
             {1}, {2}, {7}, {32}, {64}, {100, 1}, {1, 2, 3, 50}}) {
      SCOPED_TRACE(::testing::PrintToString(sizes));
      ExpectSameRows(rig.RunSequence(0, a, sizes), whole, length);
      ExpectSameRows(rig.ReadSlot(0), state, length);
    }
  }
}

struct Neighbours {
  int64_t length = 0;
  int32_t width = 0;
  std::vector<int32_t> before;  // tokens that each sequence has seen
  std::vector<int32_t> now;     // and its tokens in the step
};

TEST_P(ExplicitConvolutionTest, NeighboursAndSlotsChangeNoBit) {
  for (const auto& [length, width, before, now] : std::vector<Neighbours>{
           {100, 150, {0, 5, 31, 64, 300}, {1, 1, 1, 1, 1}},
           {100, 150, {0, 5, 31, 64, 300}, {70, 1, 1, 9, 1}},
           {1500, 37, {0, 900, 31, 2048, 5000}, {3000, 256, 1, 1024, 2}},
           {1500, 40, {0, 900, 31, 2048, 5000}, {2500, 256, 1, 4100, 700}}}) {
    SCOPED_TRACE(::testing::Message()
                 << length << ", " << ::testing::PrintToString(now));
    const auto kernel = RandomKernel(width, length);
    const std::vector<int32_t> slots = {3, 0, 5, 1, 4};
    Rig together(backend(), kernel, 6);
    const auto untouched = together.ReadSlot(2);
    std::vector<Segment> segments;
    std::vector<float> a;
    std::vector<float> want;
    std::vector<std::vector<float>> states;
    for (size_t i = 0; i < before.size(); ++i) {
      const auto own = RandomFloats(int64_t{before[i] + now[i]} * width, -1, 1,
                                    static_cast<uint32_t>(10 + i));
      Rig alone(backend(), kernel, 1);
      const auto first = RowsOf(own, width, 0, before[i]);
      const auto last = RowsOf(own, width, before[i], now[i]);
      alone.RunSequence(0, first, {13});
      const auto rest = alone.Step(
          Rows({{.slot = 0, .rows = now[i], .position = before[i]}}), last);
      want.insert(want.end(), rest.begin(), rest.end());
      states.push_back(alone.ReadSlot(0));
      together.RunSequence(slots[i], first, {13});
      a.insert(a.end(), last.begin(), last.end());
      segments.push_back(
          {.slot = slots[i], .rows = now[i], .position = before[i]});
    }
    ExpectSameBits(together.Step(Rows(segments), a), want);
    for (size_t i = 0; i < slots.size(); ++i) {
      ExpectSameBits(together.ReadSlot(slots[i]), states[i]);
    }
    ExpectSameBits(together.ReadSlot(2), untouched);
    together.ExpectGapsUntouched();
  }
}

TEST_P(ExplicitConvolutionTest, ThreadsChangeNoBit) {
  const auto kernel = RandomKernel(1100, 64);
  const int32_t rows = 70;
  const auto a = RandomFloats(int64_t{2 * rows + 1} * kernel.width, -1, 1, 7);
  const Rows step({{.slot = 1, .rows = rows},
                   {.slot = 0, .rows = 1},
                   {.slot = 2, .rows = rows}});
  Rig two(backend(), kernel, 3);
  const auto want = two.Step(step, a);
  for (const int32_t threads : {1, 3}) {
    const auto other = MakeWith(threads);
    ASSERT_NE(other, nullptr);
    Rig rig(*other, kernel, 3);
    ExpectSameBits(rig.Step(step, a), want);
  }
}

TEST_P(ExplicitConvolutionTest, StartsFromZeroWhateverTheSlotHolds) {
  for (const int64_t length : {20, 100}) {
    // Every layer has other origins: starts at many places of the ring.
    for (int32_t layer = 0; layer < 12; ++layer) {
      SCOPED_TRACE(layer);
      const auto kernel = RandomKernel(40, length);
      const auto tokens = static_cast<int32_t>(2 * length);
      const auto a = RandomFloats(int64_t{tokens} * kernel.width, -1, 1, 8);
      const auto other = RandomFloats(int64_t{tokens} * kernel.width, -9, 9, 9);
      Rig poisoned(backend(), kernel, 1, layer);
      Rig used(backend(), kernel, 1, layer);
      used.RunSequence(0, other, {tokens});
      const auto want = poisoned.RunSequence(0, a, {1});
      ExpectSameRows(used.RunSequence(0, a, {tokens}), want, length);
      ExpectSameRows(used.ReadSlot(0), poisoned.ReadSlot(0), length);
      for (const float c : want) ASSERT_FALSE(std::isnan(c));
    }
  }
}

CHELA_ON_EVERY_BACKEND(ExplicitConvolutionTest);

}  // namespace
}  // namespace chela
