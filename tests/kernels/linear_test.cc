#include "kernels/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "tests/kernels/linear_rig.h"

namespace chela {
namespace {

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
