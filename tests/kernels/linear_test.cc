#include "kernels/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/backend.h"
#include "tests/reference/ops.h"
#include "tests/support/kernel_test.h"

namespace chela {
namespace {

struct LinearInputs {
  LinearInputs(int64_t rows, int64_t outputs, int64_t inputs, DType dtype)
      : x(RandomFloats(rows * inputs, -2, 2, 1)),
        weight(RandomMatrix(outputs, inputs, dtype, 2)),
        bias(RandomFloats(outputs, -1, 1, 3)) {}

  std::vector<float> x;
  reference::Matrix weight;
  std::vector<float> bias;
};

// The result for the given rows of in.x.
std::vector<float> RunLinear(Backend& backend, const LinearInputs& in,
                             const std::vector<float>& x,
                             RowKind kind = RowKind::kDecode) {
  const auto rows =
      static_cast<int32_t>(static_cast<int64_t>(x.size()) / in.weight.cols);
  const Rows batch = MakeRows(rows, kind);
  const std::unique_ptr<Matrix> weight = Pack(backend, in.weight);
  Tensor inputs(backend, x);
  Tensor bias(backend, in.bias);
  Tensor out(backend, rows * in.weight.rows);
  EXPECT_TRUE(backend.BeginStep(batch.step()).ok());
  const absl::Status status = backend.Run(Linear{.x = inputs.data(),
                                                 .weight = weight.get(),
                                                 .bias = bias.data(),
                                                 .out = out.data()});
  EXPECT_TRUE(status.ok()) << status;
  return out.Read();
}

std::vector<float> RunLinear(Backend& backend, const LinearInputs& in) {
  return RunLinear(backend, in, in.x);
}

class LinearTest : public KernelTest {
 protected:
  void ExpectTheSameBitsInEveryBatch(const LinearInputs& in, RowKind kind) {
    const int64_t inputs = in.weight.cols;
    const int64_t outputs = in.weight.rows;
    const auto rows = static_cast<int64_t>(in.x.size()) / inputs;
    const std::vector<float> all = RunLinear(backend(), in, in.x, kind);
    for (const int64_t count :
         {1, 2, 3, 5, 8, 9, 16, 17, 32, 33, 64, 65, 149}) {
      if (count == 1 && kind == RowKind::kChunk) continue;  // a decode row
      SCOPED_TRACE(count);
      for (const int64_t first : {int64_t{0}, rows - count}) {
        ExpectSameBits(
            RunLinear(backend(), in, RowsOf(in.x, inputs, first, count), kind),
            RowsOf(all, outputs, first, count));
      }
    }
  }
};

TEST_P(LinearTest, MatchesTheReferenceForEveryTypeAndOddShape) {
  struct Shape {
    int64_t rows, outputs, inputs;
  };
  const Shape shapes[] = {{1, 1, 1},   {2, 7, 33},   {5, 33, 7},   {12, 64, 64},
                          {13, 65, 3}, {1, 31, 130}, {67, 40, 21}, {3, 100, 2}};
  for (const DType dtype : DTypes()) {
    for (const Shape& shape : shapes) {
      SCOPED_TRACE(::testing::Message()
                   << Name(dtype) << " " << shape.rows << " x " << shape.outputs
                   << " x " << shape.inputs);
      const LinearInputs in(shape.rows, shape.outputs, shape.inputs, dtype);
      std::vector<reference::Real> want;
      for (int64_t row = 0; row < shape.rows; ++row) {
        const auto values = reference::Linear(
            RowsOf(in.x, shape.inputs, row, 1), in.weight, in.bias);
        want.insert(want.end(), values.begin(), values.end());
      }
      for (const RowKind kind : kRowKinds) {
        ExpectWithin(RunLinear(backend(), in, in.x, kind), want);
      }
    }
  }
}

TEST_P(LinearTest, GivesARowTheSameBitsInEveryBatch) {
  // Inputs of up to eight slices and more, outputs of several tiles.
  for (const int64_t inputs : {45, 1100}) {
    for (const DType dtype : DTypes()) {
      for (const RowKind kind : kRowKinds) {
        SCOPED_TRACE(::testing::Message() << Name(dtype) << " " << inputs);
        ExpectTheSameBitsInEveryBatch({150, 170, inputs, dtype}, kind);
      }
    }
  }
}

// How a device cuts a product into blocks depends on its outputs and rows.
TEST_P(LinearTest, GivesARowTheSameBitsInEveryBatchHoweverManyOutputs) {
  struct Shape {
    int64_t outputs, inputs;
  };
  for (const Shape& shape :
       {Shape{2700, 1100}, Shape{5300, 1100}, Shape{5300, 1000},
        Shape{4400, 570}, Shape{17000, 130}}) {
    SCOPED_TRACE(::testing::Message()
                 << shape.outputs << " x " << shape.inputs);
    ExpectTheSameBitsInEveryBatch(
        {150, shape.outputs, shape.inputs, DType::kBF16}, RowKind::kDecode);
  }
}

// A device may run two products of the same rows as one.
TEST_P(LinearTest, GivesNeighboursTheBitsOfEachAlone) {
  constexpr int64_t kInputs = 1000;
  for (const int64_t rows : {1, 16, 64}) {
    SCOPED_TRACE(rows);
    const LinearInputs first(rows, 2300, kInputs, DType::kBF16);
    LinearInputs second(rows, 900, kInputs, DType::kBF16);
    second.weight = RandomMatrix(900, kInputs, DType::kBF16, 7);
    const Rows batch = MakeRows(static_cast<int32_t>(rows), RowKind::kDecode);
    Tensor x(backend(), first.x);
    const LinearInputs* const both[] = {&first, &second};
    std::vector<std::unique_ptr<Matrix>> weights;
    std::vector<Tensor> biases;
    std::vector<Tensor> outs;
    for (const LinearInputs* in : both) {
      weights.push_back(Pack(backend(), in->weight));
      biases.emplace_back(backend(), in->bias);
      outs.emplace_back(backend(), rows * in->weight.rows);
    }
    ASSERT_TRUE(backend().BeginStep(batch.step()).ok());
    for (size_t i = 0; i < 2; ++i) {
      ASSERT_TRUE(backend()
                      .Run(Linear{.x = x.data(),
                                  .weight = weights[i].get(),
                                  .bias = biases[i].data(),
                                  .out = outs[i].data()})
                      .ok());
    }
    for (size_t i = 0; i < 2; ++i) {
      ExpectSameBits(outs[i].Read(), RunLinear(backend(), *both[i]));
    }
  }
}

TEST_P(LinearTest, GivesEqualRowsEqualBitsWhereverTheyStand) {
  constexpr int64_t kRows = 67;
  LinearInputs in(kRows, 33, 19, DType::kBF16);
  for (int64_t row = 1; row < kRows; ++row) {
    std::copy_n(in.x.begin(), 19, in.x.begin() + row * 19);
  }
  for (const RowKind kind : kRowKinds) {
    const std::vector<float> out = RunLinear(backend(), in, in.x, kind);
    for (int64_t row = 1; row < kRows; ++row) {
      ExpectSameBits(RowsOf(out, 33, row, 1), RowsOf(out, 33, 0, 1));
    }
  }
}

TEST_P(LinearTest, GivesTheSameBitsOnAnyNumberOfThreads) {
  const LinearInputs in(130, 200, 96, DType::kBF16);
  const std::vector<float> want = RunLinear(*MakeWith(1), in);
  for (const int32_t threads : {2, 3}) {
    SCOPED_TRACE(threads);
    ExpectSameBits(RunLinear(*MakeWith(threads), in), want);
  }
}

TEST_P(LinearTest, GivesAColumnTheSameBitsInEveryMatrix) {
  // The same weights as rows 0 .. 31 of one matrix and 1 .. 32 of another.
  const LinearInputs in(3, 33, 50, DType::kF16);
  LinearInputs moved = in;
  moved.weight.values = RowsOf(in.weight.values, 50, 1, 32);
  moved.weight.rows = 32;
  moved.bias.erase(moved.bias.begin());
  const std::vector<float> all = RunLinear(backend(), in);
  const std::vector<float> part = RunLinear(backend(), moved);
  for (int64_t row = 0; row < 3; ++row) {
    ExpectSameBits(RowsOf(part, 32, row, 1), RowsOf(all, 1, row * 33 + 1, 32));
  }
}

// An int8 matrix of any numbers: each is at most half a step of its row's scale
// off, and the product of the integers as close to its sum as any other's.
TEST_P(LinearTest, QuantisesARowToTheNearestOf255Steps) {
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

TEST_P(LinearTest, RoundsTheLeftOperandToNearestEven) {
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

TEST_P(LinearTest, KeepsANanToItsOwnRow) {
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

TEST_P(LinearTest, LetsInfinityThrough) {
  LinearInputs in(1, 2, 3, DType::kBF16);
  in.x = {INFINITY, 1, 1};
  in.weight.values = {1, 1, 1, -1, 1, 1};
  ExpectSameBits(RunLinear(backend(), in), {INFINITY, -INFINITY});
}

TEST_P(LinearTest, WritesNothingBeyondItsOutput) {
  const LinearInputs in(5, 33, 8, DType::kF32);
  const std::unique_ptr<Matrix> weight = Pack(backend(), in.weight);
  const Rows batch{{.rows = 5}};
  Tensor x(backend(), in.x);
  Tensor bias(backend(), in.bias);
  Tensor out(backend(), std::vector<float>(5 * 33 + 64, 7.0f));
  ASSERT_TRUE(backend().BeginStep(batch.step()).ok());
  ASSERT_TRUE(backend()
                  .Run(Linear{.x = x.data(),
                              .weight = weight.get(),
                              .bias = bias.data(),
                              .out = out.data() + 32})
                  .ok());
  const std::vector<float> got = out.Read();
  ExpectSameBits(RowsOf(got, 1, 0, 32), std::vector<float>(32, 7.0f));
  ExpectSameBits(RowsOf(got, 1, 32 + 5 * 33, 32), std::vector<float>(32, 7.0f));
}

TEST_P(LinearTest, DoesNothingInAStepWithoutRows) {
  const LinearInputs in(1, 2, 3, DType::kBF16);
  const std::unique_ptr<Matrix> weight = Pack(backend(), in.weight);
  ASSERT_TRUE(backend().BeginStep({}).ok());
  EXPECT_TRUE(backend().Run(Linear{.weight = weight.get()}).ok());
}

TEST_P(LinearTest, RejectsAMissingMatrix) {
  EXPECT_EQ(backend().Run(Linear{}).code(), absl::StatusCode::kInvalidArgument);
}

CHELA_ON_EVERY_BACKEND(LinearTest);

}  // namespace
}  // namespace chela
