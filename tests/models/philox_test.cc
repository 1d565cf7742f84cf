#include "models/philox.h"

#include <gtest/gtest.h>

#include <set>

namespace chela {
namespace {

using Words = std::array<uint32_t, 4>;

// The known answers published with the paper's Random123 library.
TEST(Philox, GivesThePublishedKnownAnswers) {
  EXPECT_EQ(Philox({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(Philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                   {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, DrawsAreInTheUnitInterval) {
  for (uint64_t draw = 0; draw < 10'000; ++draw) {
    const double u = UniformDraw(1, 0, draw);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
  }
}

TEST(Philox, EveryPartOfTheKeyAndCounterMatters) {
  constexpr uint64_t kHigh = uint64_t{1} << 32;
  const std::set<double> draws = {
      UniformDraw(0, 0, 0), UniformDraw(1, 0, 0),     UniformDraw(kHigh, 0, 0),
      UniformDraw(0, 1, 0), UniformDraw(0, 0, 1),     UniformDraw(0, 0, kHigh),
      UniformDraw(1, 1, 0), UniformDraw(~0ull, 0, 0), UniformDraw(0, ~0u, 0)};
  EXPECT_EQ(draws.size(), 9u);
}

// Chi-square over 64 cells has mean 63 and variance 126; 8 standard deviations
// are 90 (chance below 1e-9 for a true uniform).
TEST(Philox, DrawsAreUniform) {
  constexpr int kCells = 64;
  constexpr int kDraws = 64'000;
  std::array<int, kCells> count = {};
  for (uint64_t draw = 0; draw < kDraws; ++draw) {
    ++count[static_cast<size_t>(UniformDraw(42, 3, draw) * kCells)];
  }
  double chi_square = 0;
  for (const int n : count) {
    const double excess = n - double{kDraws} / kCells;
    chi_square += excess * excess * kCells / kDraws;
  }
  EXPECT_LT(chi_square, 63 + 90);
}

}  // namespace
}  // namespace chela
