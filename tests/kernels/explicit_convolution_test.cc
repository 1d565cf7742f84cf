#include "tests/reference/explicit_convolution.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "tests/kernels/sequence_rig.h"
#include "tests/support/kernel_test.h"

namespace chela {
namespace {

using reference::PlainKernel;

PlainKernel RandomKernel(int32_t width, int64_t length) {
  return {width, length, RandomFloats(width * length, -1, 1, 1),
          RandomFloats(width, -1, 1, 2)};
}

class Rig : public SequenceRig {
 public:
  Rig(Backend& backend, const PlainKernel& kernel, int32_t slots,
      int32_t layer = 0)
      : SequenceRig(backend, kernel.width,
                    static_cast<int64_t>(
                        std::bit_ceil(static_cast<uint64_t>(kernel.length))) *
                        kernel.width,
                    slots),
        layer_(layer),
        skip_(backend, kernel.skip) {
    auto made = backend.MakeExplicitKernel(kernel.kernel.data(), kernel.width,
                                           kernel.length);
    EXPECT_TRUE(made.ok()) << made.status();
    if (made.ok()) kernel_ = *std::move(made);
  }

 protected:
  absl::Status Run(const float* a, const StateView& state, float* c) override {
    return backend().Run(ExplicitConvolution{.kernel = kernel_.get(),
                                             .layer = layer_,
                                             .a = a,
                                             .skip = skip_.data(),
                                             .state = state,
                                             .c = c});
  }

 private:
  int32_t layer_;
  Tensor skip_;
  std::unique_ptr<ExplicitKernel> kernel_;
};

std::vector<reference::Value> Definition(const PlainKernel& kernel,
                                         const std::vector<float>& a) {
  std::vector<reference::Value> c;
  const auto tokens = static_cast<int64_t>(a.size()) / kernel.width;
  for (int64_t t = 0; t < tokens; ++t) {
    for (int32_t j = 0; j < kernel.width; ++j) {
      c.push_back(reference::ExplicitOutput(kernel, a, t, j));
    }
  }
  return c;
}

// |got - want| / |want| in the Euclidean norm.
double RelativeError(const std::vector<float>& got,
                     const std::vector<reference::Value>& want) {
  double off = 0;
  double size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    off += (got[i] - want[i].value) * (got[i] - want[i].value);
    size += want[i].value * want[i].value;
  }
  return std::sqrt(off / size);
}

// The same between two of ours; NaN only where both have it.
double Difference(const std::vector<float>& got,
                  const std::vector<float>& want) {
  double off = 0;
  double size = 0;
  EXPECT_EQ(got.size(), want.size());
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    EXPECT_EQ(std::isnan(got[i]), std::isnan(want[i])) << "element " << i;
    if (std::isnan(got[i]) || std::isnan(want[i])) continue;
    off += (double{got[i]} - want[i]) * (double{got[i]} - want[i]);
    size += double{want[i]} * want[i];
  }
  return std::sqrt(off / size);
}

// What the transforms are held to; the promise of the product is 1e-5.
constexpr double kRelativeError = 2e-6;

class ExplicitConvolutionTest : public KernelTest {
 protected:
  // Rows that were cut into other steps: a chunk of a GPU goes through other
  // sums than decode rows, unless the ring is so short that it has none.
  void ExpectSameRows(const std::vector<float>& got,
                      const std::vector<float>& want, int64_t length) const {
    if (GetParam().options.kind == BackendKind::kCpu || length <= 64) {
      ExpectSameBits(got, want);
      return;
    }
    EXPECT_LE(Difference(got, want), 2 * kRelativeError);
  }
};

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
    // Some rows, one channel each.
    std::vector<size_t> places;
    std::vector<reference::Value> want;
    for (int64_t t = 0; t < tokens; t += length / 128 + 3) {
      const int32_t channel = static_cast<int32_t>(t) % width;
      places.push_back(static_cast<size_t>(t * width + channel));
      want.push_back(reference::ExplicitOutput(kernel, a, t, channel));
    }
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
      const auto c = rig.RunSequence(0, a, sizes);
      std::vector<float> got;
      for (const size_t place : places) got.push_back(c[place]);
      EXPECT_LE(RelativeError(got, want), kRelativeError);
      rig.ExpectGapsUntouched();
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

TEST_P(ExplicitConvolutionTest, EveryLayerGivesTheSameNumbers) {
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

TEST_P(ExplicitConvolutionTest, ChunksAndTokensOfAStreamMatchTheDefinition) {
  // Chunks that end at multiples of 256, tokens between them, several turns of
  // the ring, from origins all over it.
  const auto kernel = RandomKernel(70, 600);
  const int32_t tokens = 5 * 1024 + 77;
  const auto a = RandomFloats(int64_t{tokens} * kernel.width, -1, 1, 12);
  const auto want = Definition(kernel, a);
  for (int32_t layer = 0; layer < 6; ++layer) {
    SCOPED_TRACE(layer);
    Rig rig(backend(), kernel, 1, layer);
    EXPECT_LE(
        RelativeError(rig.RunSequence(0, a, {256, 256, 1, 1, 254, 512, 1000}),
                      want),
        kRelativeError);
    rig.ExpectGapsUntouched();
  }
}

TEST_P(ExplicitConvolutionTest, AStateMeansTheSameToEveryBackend) {
  BackendOptions options;
  options.threads = 2;
  const auto other = MakeBackend(options);
  ASSERT_TRUE(other.ok()) << other.status();
  for (const int64_t length : {20, 50, 100, 600}) {
    const auto kernel = RandomKernel(44, length);
    const int32_t rest = 300;
    for (const int32_t seen : {1, 31, 130, 700, 1500}) {
      SCOPED_TRACE(::testing::Message() << length << ", " << seen);
      const int32_t layer = seen % 7;
      const auto a =
          RandomFloats(int64_t{seen + rest} * kernel.width, -1, 1, 13);
      const auto all = Definition(kernel, a);
      const std::vector<reference::Value> want(
          all.begin() + int64_t{seen} * kernel.width, all.end());
      const auto first = RowsOf(a, kernel.width, 0, seen);
      const auto last = RowsOf(a, kernel.width, seen, rest);
      const Rows next({{.slot = 0, .rows = rest, .position = seen}});
      Rig here(backend(), kernel, 1, layer);
      Rig there(**other, kernel, 1, layer);
      here.RunSequence(0, first, {200, 1, 1});
      there.RunSequence(0, first, {64});
      const auto state = here.ReadSlot(0);
      EXPECT_LE(Difference(state, there.ReadSlot(0)), 2 * kRelativeError);
      here.WriteSlot(0, there.ReadSlot(0));
      there.WriteSlot(0, state);
      EXPECT_LE(RelativeError(here.Step(next, last), want), kRelativeError);
      EXPECT_LE(RelativeError(there.Step(next, last), want), kRelativeError);
    }
  }
}

TEST_P(ExplicitConvolutionTest, AStateOfLongChunksMeansTheSameToEveryBackend) {
  BackendOptions options;
  options.threads = 2;
  const auto other = MakeBackend(options);
  ASSERT_TRUE(other.ok()) << other.status();
  const auto kernel = RandomKernel(40, 2500);
  const int32_t rest = 2000;
  for (const int32_t seen : {3, 1024, 1500, 4096, 9001}) {
    const int32_t layer = seen % 7;
    const auto a = RandomFloats(int64_t{seen + rest} * kernel.width, -1, 1, 13);
    Rig here(backend(), kernel, 1, layer);
    Rig there(**other, kernel, 1, layer);
    here.RunSequence(0, RowsOf(a, kernel.width, 0, seen), {seen});
    const auto all = there.RunSequence(0, a, {64});
    Rig first(**other, kernel, 1, layer);
    first.RunSequence(0, RowsOf(a, kernel.width, 0, seen), {64});
    EXPECT_LE(Difference(here.ReadSlot(0), first.ReadSlot(0)),
              2 * kRelativeError)
        << seen;
    // Decoded on, here and by the other from the state of here.
    const auto want = RowsOf(all, kernel.width, seen, rest);
    const auto last = RowsOf(a, kernel.width, seen, rest);
    first.WriteSlot(0, here.ReadSlot(0));
    for (Rig* rig : {&here, &first}) {
      std::vector<float> c;
      for (int32_t t = 0; t < rest; ++t) {
        const auto row = rig->Step(
            Rows({{.slot = 0, .rows = 1, .position = int64_t{seen} + t}}),
            RowsOf(last, kernel.width, t, 1));
        c.insert(c.end(), row.begin(), row.end());
      }
      EXPECT_LE(Difference(c, want), 2 * kRelativeError) << seen;
    }
  }
}

TEST_P(ExplicitConvolutionTest, ContinuesAtPositionsFarFromTheStart) {
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

TEST_P(ExplicitConvolutionTest, AKernelSaysWhatItHolds) {
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

TEST_P(ExplicitConvolutionTest, RefusesKernelsWithoutWidthOrLength) {
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

TEST_P(ExplicitConvolutionTest, RefusesWhatItCannotRunBeforeAnyWrite) {
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

CHELA_ON_EVERY_BACKEND(ExplicitConvolutionTest);

}  // namespace
}  // namespace chela
