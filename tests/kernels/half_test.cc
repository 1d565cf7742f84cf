#include "kernels/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>

#include "tests/reference/rounding.h"

namespace chela {
namespace {

TEST(HalfTest, ReadsEveryBf16AndF16) {
  for (uint32_t i = 0; i < 0x10000; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const double bf16 = reference::Decode16(DType::kBF16, bits);
    const double f16 = reference::Decode16(DType::kF16, bits);
    if (std::isnan(bf16)) {
      EXPECT_TRUE(std::isnan(FromBf16(bits))) << i;
    } else {
      EXPECT_EQ(FromBf16(bits), bf16) << i;
    }
    if (std::isnan(f16)) {
      EXPECT_TRUE(std::isnan(FromF16(bits))) << i;
    } else {
      EXPECT_EQ(FromF16(bits), f16) << i;
    }
  }
}

TEST(HalfTest, ReturnsWhatItRead) {
  for (uint32_t i = 0; i < 0x10000; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    if (!std::isnan(FromBf16(bits))) {
      EXPECT_EQ(ToBf16(FromBf16(bits)), bits);
    }
    if (!std::isnan(FromF16(bits))) {
      EXPECT_EQ(ToF16(FromF16(bits)), bits);
    }
  }
}

// Every exponent, with fractions on, just beside and between the midpoints.
TEST(HalfTest, RoundsToNearestEvenAtEverySize) {
  const uint32_t fractions[] = {
      0,        1,        0x00000fff, 0x00001000, 0x1001,   0x2fff,  0x3000,
      0x3001,   0x7fff,   0x8000,     0x8001,     0x17fff,  0x18000, 0x18001,
      0x7fefff, 0x7ff000, 0x7fffff,   0x400000,   0x7f8000, 0x555555};
  for (uint32_t high = 0; high < 0x200; ++high) {
    for (const uint32_t fraction : fractions) {
      const float x = std::bit_cast<float>((high << 23) | fraction);
      if (std::isnan(x)) continue;
      EXPECT_EQ(ToBf16(x),
                reference::Encode16(
                    DType::kBF16, reference::RoundTo(DType::kBF16, double{x})))
          << x;
      EXPECT_EQ(ToF16(x),
                reference::Encode16(DType::kF16,
                                    reference::RoundTo(DType::kF16, double{x})))
          << x;
    }
  }
}

TEST(HalfTest, KeepsNan) {
  for (const uint32_t bits : {0x7fc00000u, 0x7f800001u, 0xffffffffu}) {
    const float nan = std::bit_cast<float>(bits);
    EXPECT_TRUE(std::isnan(FromBf16(ToBf16(nan))));
    EXPECT_TRUE(std::isnan(FromF16(ToF16(nan))));
  }
}

}  // namespace
}  // namespace chela
