// States of the explicit convolution that streams and other backends go on
// from.
#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "tests/kernels/explicit_rig.h"

namespace chela {
namespace {

using Rig = ExplicitRig;
using ExplicitStateTest = ExplicitConvolutionTest;

TEST_P(ExplicitStateTest, ChunksAndTokensOfAStreamMatchTheDefinition) {
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

TEST_P(ExplicitStateTest, AStateMeansTheSameToEveryBackend) {
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

TEST_P(ExplicitStateTest, AStateOfLongChunksMeansTheSameToEveryBackend) {
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

CHELA_ON_EVERY_BACKEND(ExplicitStateTest);

}  // namespace
}  // namespace chela
