#include "tests/reference/hierarchical_convolution.h"

#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "tests/kernels/hierarchical_rig.h"
#include "tests/support/kernel_test.h"

namespace chela {
namespace {

using HierarchicalConvolutionTest = KernelTest;

TEST_P(HierarchicalConvolutionTest, MatchesTheDefinition) {
  for (const auto& [base_length, levels] :
       std::vector<std::pair<int, int>>{{4, 1}, {4, 3}, {6, 2}, {16, 3}}) {
    for (const int32_t width : {1, 7, 33, 64}) {
      SCOPED_TRACE(::testing::Message() << "B " << base_length << ", S "
                                        << levels << ", width " << width);
      const auto kernel = RandomKernel(width, base_length, levels);
      const int32_t tokens = 2 * Length(kernel) + 3;
      const auto a = RandomFloats(int64_t{tokens} * width, -1, 1, 4);
      HierarchicalRig rig(backend(), kernel, 1);

      const auto c = rig.RunSequence(0, a, {tokens});

      const auto input = FromRows(a, width);
      ExpectClose(c, Definition(kernel, input, 0, tokens), Roundings(kernel));
      ExpectClose(rig.ReadSlot(0),
                  reference::HierarchicalState(kernel, input, tokens),
                  Roundings(kernel));
      rig.ExpectGapsUntouched();
    }
  }
}

TEST_P(HierarchicalConvolutionTest, TokenByTokenMatchesTheDefinitionAndState) {
  const auto kernel = RandomKernel(21, 8, 2);
  const int32_t tokens = 3 * Length(kernel) + 1;
  const auto a = RandomFloats(int64_t{tokens} * kernel.width, -1, 1, 4);
  const auto input = FromRows(a, kernel.width);
  HierarchicalRig rig(backend(), kernel, 1);
  const auto c = rig.RunSequence(0, a, {1});
  ExpectClose(c, Definition(kernel, input, 0, tokens), Roundings(kernel));
  ExpectClose(rig.ReadSlot(0),
              reference::HierarchicalState(kernel, input, tokens),
              Roundings(kernel));
}

TEST_P(HierarchicalConvolutionTest, AnImpulseReturnsEachTapAtItsLag) {
  const auto kernel = RandomKernel(5, 8, 1);
  const int32_t tokens = 16;
  std::vector<float> a(tokens * kernel.width, 0.0f);
  for (int32_t j = 0; j < kernel.width; ++j) a[j] = 1;
  HierarchicalRig rig(backend(), kernel, 1);
  const auto c = rig.RunSequence(0, a, {tokens});
  // Position 0 is half of block 0, whose lag is n_1(t) - 3 from t = 7 on.
  for (int32_t t = 0; t < tokens; ++t) {
    for (int32_t j = 0; j < kernel.width; ++j) {
      float want = t == 0 ? kernel.skip[j] : 0;
      if (t < 8) want += kernel.taps0[t * kernel.width + j];
      const int32_t m = (t + 1) / 2 - 1 - 3;
      if (m >= 0 && m < 4) want += kernel.taps[m * kernel.width + j] / 2;
      EXPECT_NEAR(c[t * kernel.width + j], want, 3 * 0x1p-24 * 3)
          << "token " << t << ", channel " << j;
    }
  }
}

TEST_P(HierarchicalConvolutionTest, EverySplitOfAShortPromptGivesTheSameBits) {
  const auto kernel = RandomKernel(3, 4, 1);
  const int32_t tokens = 10;
  const auto a = RandomFloats(tokens * kernel.width, -1, 1, 5);
  HierarchicalRig rig(backend(), kernel, 1);
  const auto whole = rig.RunSequence(0, a, {tokens});
  const auto state = rig.ReadSlot(0);
  // Bit i of `cuts`: a step ends after token i.
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
    ExpectSameBits(rig.ReadSlot(0), state);
    if (HasFailure()) return;
  }
}

TEST_P(HierarchicalConvolutionTest, SplitsOfALongPromptGiveTheSameBits) {
  const auto kernel = RandomKernel(150, 16, 3);
  const int32_t tokens = 2 * Length(kernel) + 17;
  const auto a = RandomFloats(int64_t{tokens} * kernel.width, -1, 1, 6);
  HierarchicalRig rig(backend(), kernel, 1);
  const auto whole = rig.RunSequence(0, a, {tokens});
  const auto state = rig.ReadSlot(0);
  for (const std::vector<int32_t>& sizes : std::vector<std::vector<int32_t>>{
           {1}, {2}, {7}, {8}, {64}, {100, 1}, {1, 2, 3, 50}}) {
    SCOPED_TRACE(::testing::PrintToString(sizes));
    ExpectSameBits(rig.RunSequence(0, a, sizes), whole);
    ExpectSameBits(rig.ReadSlot(0), state);
  }
}

TEST_P(HierarchicalConvolutionTest, LongChunksGiveTheSameBitsAtManyLevels) {
  // Blocks wider than what a GPU sums at once, begun before and inside a chunk.
  for (const auto& [base_length, levels, tokens] :
       std::vector<std::tuple<int32_t, int32_t, int32_t>>{
           {4, 8, 2 * (4 << 8) + 331}, {16, 10, 9'001}, {16, 14, 5'000}}) {
    SCOPED_TRACE(::testing::Message()
                 << "B " << base_length << " S " << levels);
    const auto kernel = RandomKernel(5, base_length, levels);
    const auto a = RandomFloats(int64_t{tokens} * kernel.width, -1, 1, 6);
    HierarchicalRig rig(backend(), kernel, 1);
    const auto want = rig.RunSequence(0, a, {1});
    const auto state = rig.ReadSlot(0);
    for (const std::vector<int32_t>& sizes : std::vector<std::vector<int32_t>>{
             {tokens}, {256}, {777, 2, 1024}, {8'200, 3}}) {
      SCOPED_TRACE(::testing::PrintToString(sizes));
      ExpectSameBits(rig.RunSequence(0, a, sizes), want);
      ExpectSameBits(rig.ReadSlot(0), state);
    }
  }
}

TEST_P(HierarchicalConvolutionTest, NeighboursAndSlotsChangeNoBit) {
  const auto kernel = RandomKernel(70, 8, 2);
  const int32_t width = kernel.width;
  // Each sequence: a first step alone, then one with all of them together, at
  // different positions and of different lengths.
  const std::vector<int32_t> before = {0, 5, 31, 64, 90};
  const std::vector<int32_t> now = {20, 1, 1, 9, 1};
  const std::vector<int32_t> slots = {3, 0, 5, 1, 4};
  HierarchicalRig together(backend(), kernel, 7);
  const auto untouched = together.ReadSlot(2);
  std::vector<Segment> segments;
  std::vector<float> a;
  std::vector<float> want;
  std::vector<std::vector<float>> states;
  for (size_t i = 0; i < before.size(); ++i) {
    const auto own =
        RandomFloats(int64_t{before[i] + now[i]} * width, -1, 1, 10 + i);
    HierarchicalRig alone(backend(), kernel, 1);
    const auto c = alone.RunSequence(0, own, {before[i] + now[i]});
    const auto rest = RowsOf(c, width, before[i], now[i]);
    want.insert(want.end(), rest.begin(), rest.end());
    states.push_back(alone.ReadSlot(0));
    together.RunSequence(slots[i], RowsOf(own, width, 0, before[i]), {1});
    const auto last = RowsOf(own, width, before[i], now[i]);
    a.insert(a.end(), last.begin(), last.end());
    segments.push_back(
        {.slot = slots[i], .rows = now[i], .position = before[i]});
  }

  ExpectSameBits(together.Step(Rows(segments), a), want);

  // Rows that no token has reached are poison on both sides.
  for (size_t i = 0; i < slots.size(); ++i) {
    SCOPED_TRACE(i);
    ExpectSameBits(together.ReadSlot(slots[i]), states[i]);
  }
  ExpectSameBits(together.ReadSlot(2), untouched);
  together.ExpectGapsUntouched();
}

// Chunks of several sequences in one step give what each gives token by token.
void ExpectSameBesideOthers(Backend& backend,
                            const reference::HierarchicalKernel& kernel,
                            const std::vector<int32_t>& before,
                            const std::vector<int32_t>& now) {
  const int32_t width = kernel.width;
  const int32_t count = static_cast<int32_t>(now.size());
  HierarchicalRig together(backend, kernel, count);
  std::vector<Segment> segments;
  std::vector<float> a;
  std::vector<float> want;
  std::vector<std::vector<float>> states;
  for (int32_t i = 0; i < count; ++i) {
    const auto own =
        RandomFloats(int64_t{before[i] + now[i]} * width, -1, 1, 20 + i);
    HierarchicalRig alone(backend, kernel, 1);
    const auto c = alone.RunSequence(0, own, {1});
    const auto rest = RowsOf(c, width, before[i], now[i]);
    want.insert(want.end(), rest.begin(), rest.end());
    states.push_back(alone.ReadSlot(0));
    if (before[i] > 0) {
      together.RunSequence(i, RowsOf(own, width, 0, before[i]), {1});
    }
    const auto last = RowsOf(own, width, before[i], now[i]);
    a.insert(a.end(), last.begin(), last.end());
    segments.push_back({.slot = i, .rows = now[i], .position = before[i]});
  }
  ExpectSameBits(together.Step(Rows(segments), a), want);
  for (int32_t i = 0; i < count; ++i) {
    SCOPED_TRACE(i);
    ExpectSameBits(together.ReadSlot(i), states[i]);
  }
  together.ExpectGapsUntouched();
}

// More groups of channels than a GPU has multiprocessors, and prompts that end
// where its tiles do, before and behind: each block takes parts of several.
TEST_P(HierarchicalConvolutionTest, LongChunksBesideOthersGiveTheSameBits) {
  for (const int32_t width : {601, 604}) {  // rows of whole fours and others
    SCOPED_TRACE(width);
    ExpectSameBesideOthers(backend(), RandomKernel(width, 16, 9),
                           {0, 700, 512, 1}, {2'049, 1'348, 2'048, 4'400});
  }
}

// Which a GPU does another way than long ones.
TEST_P(HierarchicalConvolutionTest, ShortChunksBesideOthersGiveTheSameBits) {
  ExpectSameBesideOthers(backend(), RandomKernel(601, 16, 9),
                         {0, 700, 512, 1, 333}, {64, 100, 512, 31, 2});
}

TEST_P(HierarchicalConvolutionTest, ThreadsChangeNoBit) {
  const auto kernel = RandomKernel(1100, 16, 2);
  const int32_t rows = 40;
  const auto a = RandomFloats(int64_t{2 * rows + 1} * kernel.width, -1, 1, 7);
  const Rows step({{.slot = 1, .rows = rows},
                   {.slot = 0, .rows = 1},
                   {.slot = 2, .rows = rows}});
  HierarchicalRig two(backend(), kernel, 3);
  const auto want = two.Step(step, a);
  for (const int32_t threads : {1, 3}) {
    const auto other = MakeWith(threads);
    ASSERT_NE(other, nullptr);
    HierarchicalRig rig(*other, kernel, 3);
    ExpectSameBits(rig.Step(step, a), want);
  }
}

TEST_P(HierarchicalConvolutionTest, StartsFromZeroWhateverTheSlotHolds) {
  const auto kernel = RandomKernel(40, 8, 2);
  const int32_t tokens = 2 * Length(kernel);
  const auto a = RandomFloats(int64_t{tokens} * kernel.width, -1, 1, 8);
  const auto other = RandomFloats(int64_t{tokens} * kernel.width, -9, 9, 9);
  for (const std::vector<int32_t>& sizes :
       std::vector<std::vector<int32_t>>{{1}, {tokens}}) {
    HierarchicalRig poisoned(backend(), kernel, 1);
    HierarchicalRig used(backend(), kernel, 1);
    used.RunSequence(0, other, {tokens});
    ExpectSameBits(used.RunSequence(0, a, sizes),
                   poisoned.RunSequence(0, a, sizes));
    ExpectSameBits(used.ReadSlot(0), poisoned.ReadSlot(0));
  }
}

CHELA_ON_EVERY_BACKEND(HierarchicalConvolutionTest);

}  // namespace
}  // namespace chela
