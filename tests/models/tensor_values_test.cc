#include "models/tensor_values.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "tests/reference/rounding.h"

namespace chela {
namespace {

template <typename T>
std::span<const std::byte> Bytes(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

TEST(TensorValues, WidenEveryBFloat16AndFloat16Exactly) {
  std::vector<uint16_t> bits(65536);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    const std::vector<float> values = Widen(Bytes(bits), dtype);
    for (size_t i = 0; i < bits.size(); ++i) {
      const double want = reference::Decode16(dtype, bits[i]);
      if (std::isnan(want)) {
        EXPECT_TRUE(std::isnan(values[i])) << Name(dtype) << " " << i;
      } else {
        EXPECT_EQ(values[i], want) << Name(dtype) << " " << i;
        EXPECT_EQ(std::signbit(values[i]), std::signbit(want)) << i;
      }
    }
  }
}

TEST(TensorValues, WidenReadsUnalignedBytes) {
  std::vector<std::byte> bytes(9);
  const float value = 1.5f;
  std::memcpy(&bytes[1], &value, 4);
  std::memcpy(&bytes[5], &value, 4);
  const auto values = Widen(std::span(bytes).subspan(1), DType::kF32);
  EXPECT_EQ(values, (std::vector<float>{1.5f, 1.5f}));
}

TEST(TensorValues, FindTheFirstNaNOrInfinityAtAnyPlace) {
  for (const size_t place :
       {size_t{0}, size_t{4095}, size_t{4096}, size_t{9999}}) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
      std::vector<float> values(10000, -3.0f);
      EXPECT_FALSE(FirstUnusable(Bytes(values), DType::kF32, DType::kF32));
      values[place] = bad;
      values.back() = bad;
      EXPECT_EQ(FirstUnusable(Bytes(values), DType::kF32, DType::kF32), place);
      EXPECT_EQ(FirstUnusable(Bytes(values), DType::kF32, DType::kF16), place);
    }
  }
}

// Which float32 values overflow is decided by rounding itself.
TEST(TensorValues, FindWhatOverflowsInANarrowerType) {
  const float f16_edge = 65520.0f;
  const float bf16_edge = std::bit_cast<float>(0x7f7f8000u);
  for (const float edge : {f16_edge, bf16_edge, 65536.0f, 65504.0f}) {
    for (const float value :
         {edge, std::nextafter(edge, 0.0f), -std::nextafter(edge, INFINITY)}) {
      const std::vector<float> values = {value};
      for (const DType target : {DType::kBF16, DType::kF16, DType::kF32}) {
        const bool bad = std::isinf(reference::RoundTo(target, value));
        EXPECT_EQ(FirstUnusable(Bytes(values), DType::kF32, target).has_value(),
                  bad)
            << value << " as " << Name(target);
      }
    }
  }
}

TEST(TensorValues, FindWhatOverflowsBetweenTheNarrowTypes) {
  for (uint32_t i = 0; i < 65536; ++i) {
    const std::vector<uint16_t> bits = {static_cast<uint16_t>(i)};
    for (const DType stored : {DType::kBF16, DType::kF16}) {
      for (const DType target : {DType::kBF16, DType::kF16, DType::kF32}) {
        const double value = reference::Decode16(stored, bits[0]);
        const bool bad = !std::isfinite(reference::RoundTo(target, value));
        ASSERT_EQ(FirstUnusable(Bytes(bits), stored, target).has_value(), bad)
            << value << " " << Name(stored) << " as " << Name(target);
      }
    }
  }
}

TEST(ContentHash, DiffersForEveryFlippedBit) {
  std::string text(67, 'a');
  std::set<std::string> digits;
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string changed = text;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << (bit % 8)));
    ContentHash hash;
    hash.Add(changed);
    digits.insert(hash.Digits());
  }
  EXPECT_EQ(digits.size(), text.size() * 8);
}

TEST(ContentHash, KnowsWhereOnePieceEnds) {
  ContentHash one, other, third;
  one.Add("ab");
  one.Add("c");
  other.Add("a");
  other.Add("bc");
  third.Add("abc");
  EXPECT_NE(one.Digits(), other.Digits());
  EXPECT_NE(one.Digits(), third.Digits());
  EXPECT_EQ(one.Digits().size(), 16u);
}

// States are kept on disk under this hash: it must never change silently.
TEST(ContentHash, IsTheSameInEveryProcess) {
  ContentHash hash;
  hash.Add("chela");
  hash.Add(std::string(100, 'x'));
  EXPECT_EQ(hash.Digits(), "614b9478356d8b38");
}

}  // namespace
}  // namespace chela
