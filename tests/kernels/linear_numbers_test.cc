// What a product does to single numbers: roundings, steps of int8, NaN,
// infinity.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/kernels/linear_rig.h"

namespace chela {
namespace {

using LinearNumbersTest = KernelTest;

// An int8 matrix of any numbers: each is at most half a step of its row's scale
// off, and the product of the integers as close to its sum as any other's.
TEST_P(LinearNumbersTest, QuantisesARowToTheNearestOf255Steps) {
  constexpr int64_t kOutputs = 37;
  constexpr int64_t kInputs = 90;
  LinearInputs in(3, kOutputs, kInputs, DType::kI8);
  if (GetParam().options.kind == BackendKind::kCuda) {
    const MatrixPart part{in.weight.values.data(), DType::kF32, kOutputs};
    EXPECT_EQ(backend().Pack({&part, 1}, kInputs, DType::kI8).status().code(),
              absl::StatusCode::kUnimplemented);
    return;
  }
  in.weight.values = RandomFloats(kOutputs * kInputs, -3, 3, 9);
  std::fill_n(in.weight.values.begin() + kInputs, kInputs, 0.0f);
  for (float& x : in.x) x = static_cast<float>(std::round(16 * x)) / 16;
  const std::vector<float> got = RunLinear(backend(), in);
  for (int64_t row = 0; row < 3; ++row) {
    for (int64_t n = 0; n < kOutputs; ++n) {
      double largest = 0;
      for (int64_t k = 0; k < kInputs; ++k) {
        largest = std::max(largest, std::fabs(in.weight.at(n, k)));
      }
      const double step = largest / 127;
      double sum = in.bias[static_cast<size_t>(n)];
      double quantised = sum;
      double size = std::fabs(sum);
      double within = 0;
      for (int64_t k = 0; k < kInputs; ++k) {
        const double x = in.x[static_cast<size_t>(row * kInputs + k)];
        const double w = in.weight.at(n, k);
        const double q = step == 0 ? 0 : step * std::nearbyint(w / step);
        sum += x * w;
        quantised += x * q;
        size += std::fabs(x * q);
        within += std::fabs(x) * step / 2;
      }
      const double rounding = (kInputs + 4) * 0x1p-24 * size;
      const double value = got[static_cast<size_t>(row * kOutputs + n)];
      EXPECT_NEAR(value, sum, within + rounding) << row << " " << n;
      // Closer than any one element rounded the other way would be, unless it
      // lay halfway.
      EXPECT_NEAR(value, quantised, rounding + 1e-6) << row << " " << n;
    }
  }
}

TEST_P(LinearNumbersTest, RoundsTheLeftOperandToNearestEven) {
  // A bf16 has 8 significant bits: 1 + 2^-8 lies halfway and goes down to the
  // even 1, 1 + 3 * 2^-8 goes up; just above a half goes up.
  LinearInputs in(4, 1, 1, DType::kBF16);
  in.x = {1 + 0x1p-8f, 1 + 3 * 0x1p-8f, 1 + 0x1p-8f + 0x1p-20f, -1 - 0x1p-8f};
  in.weight.values = {1.0f};
  in.bias = {0.0f};
  ExpectSameBits(RunLinear(backend(), in),
                 {1.0f, 1 + 0x1p-6f, 1 + 0x1p-7f, -1.0f});
  // A float16 has 11.
  in.weight.dtype = DType::kF16;
  in.x = {1 + 0x1p-11f, 1 + 3 * 0x1p-11f, 65504.0f, 0x1p-24f};
  ExpectSameBits(RunLinear(backend(), in),
                 {1.0f, 1 + 0x1p-9f, 65504.0f, 0x1p-24f});
}

TEST_P(LinearNumbersTest, KeepsANanToItsOwnRow) {
  const LinearInputs in(14, 40, 9, DType::kBF16);
  std::vector<float> x = in.x;
  x[5 * 9 + 4] = kPoison;
  for (const RowKind kind : kRowKinds) {
    const std::vector<float> want = RunLinear(backend(), in, in.x, kind);
    const std::vector<float> got = RunLinear(backend(), in, x, kind);
    for (int64_t row = 0; row < 14; ++row) {
      SCOPED_TRACE(row);
      if (row != 5) {
        ExpectSameBits(RowsOf(got, 40, row, 1), RowsOf(want, 40, row, 1));
        continue;
      }
      for (const float value : RowsOf(got, 40, row, 1)) {
        EXPECT_TRUE(std::isnan(value));
      }
    }
  }
}

TEST_P(LinearNumbersTest, LetsInfinityThrough) {
  LinearInputs in(1, 2, 3, DType::kBF16);
  in.x = {INFINITY, 1, 1};
  in.weight.values = {1, 1, 1, -1, 1, 1};
  ExpectSameBits(RunLinear(backend(), in), {INFINITY, -INFINITY});
}

CHELA_ON_EVERY_BACKEND(LinearNumbersTest);

}  // namespace
}  // namespace chela
