// The gated output and the head.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "tests/reference/ops.h"
#include "tests/support/kernel_test.h"
#include "tests/support/norms.h"

namespace chela {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kRows[] = {1, 5, 27};

struct GatedInputs {
  GatedInputs(int64_t count, int64_t out_width, int64_t value_width,
              DType dtype)
      : rows(count),
        width(out_width),
        x(RandomFloats(count * value_width, -2, 2, 1)),
        weight(RandomMatrix(out_width, value_width, dtype, 2)),
        // One stacked result: candidate, 3 columns of something else, gate.
        stride(2 * out_width + 3),
        stacked(RandomFloats(count * stride, -9, 9, 3)),
        residual(RandomFloats(count * out_width, -2, 2, 4)) {}

  int64_t rows;
  RowKind kind = RowKind::kDecode;
  int64_t width;
  std::vector<float> x;
  reference::Matrix weight;
  int64_t stride;
  std::vector<float> stacked;
  std::vector<float> residual;
};

std::vector<float> RunGated(Backend& backend, const GatedInputs& in,
                            bool in_place = false) {
  const Rows batch = MakeRows(in.rows, in.kind);
  const std::unique_ptr<Matrix> weight = Pack(backend, in.weight);
  Tensor x(backend, in.x);
  Tensor stacked(backend, in.stacked);
  Tensor residual(backend, in.residual);
  Tensor out(backend, in.rows * in.width);
  EXPECT_TRUE(backend.BeginStep(batch.step()).ok());
  const absl::Status status = backend.Run(
      GatedOutput{.x = x.data(),
                  .weight = weight.get(),
                  .candidate = {stacked.data(), in.stride},
                  .gate = {stacked.data() + in.width + 3, in.stride},
                  .residual = residual.data(),
                  .out = in_place ? residual.data() : out.data()});
  EXPECT_TRUE(status.ok()) << status;
  return in_place ? residual.Read() : out.Read();
}

using GatedOutputTest = KernelTest;

TEST_P(GatedOutputTest, MatchesTheReference) {
  for (const DType dtype : DTypes()) {
    for (const int64_t rows : kRows) {
      for (const int64_t width : {1, 7, 33, 64}) {
        SCOPED_TRACE(::testing::Message()
                     << Name(dtype) << " " << rows << " x " << width);
        GatedInputs in(rows, width, 2 * width + 1, dtype);
        std::vector<reference::Real> want;
        for (int64_t row = 0; row < rows; ++row) {
          const int64_t at = row * in.stride;
          const auto values = reference::GatedOutput(
              RowsOf(in.x, 2 * width + 1, row, 1), in.weight,
              RowsOf(in.stacked, 1, at, width),
              RowsOf(in.stacked, 1, at + width + 3, width),
              RowsOf(in.residual, width, row, 1));
          want.insert(want.end(), values.begin(), values.end());
        }
        for (const RowKind kind : kRowKinds) {
          in.kind = kind;
          ExpectWithin(RunGated(backend(), in), want);
        }
      }
    }
  }
}

TEST_P(GatedOutputTest, MayReplaceTheResidual) {
  const GatedInputs in(14, 45, 20, DType::kBF16);
  ExpectSameBits(RunGated(backend(), in, true), RunGated(backend(), in));
}

TEST_P(GatedOutputTest, ReachesItsLimitsForLargeGates) {
  GatedInputs in(1, 2, 1, DType::kF32);
  in.x = {0.0f};
  in.residual = {3.0f, 5.0f};
  //            candidates  other    gates
  in.stacked = {2e4f, -2e4f, 0, 0, 0, 1e4f, -1e4f};
  // An open gate lets SiLU(2e4) = 2e4 through, a closed one the residual.
  ExpectSameBits(RunGated(backend(), in), {2e4f, 5.0f});
}

TEST_P(GatedOutputTest, GivesARowTheSameBitsAloneAndOnAnyThreads) {
  GatedInputs in(31, 70, 33, DType::kBF16);
  const std::vector<float> all = RunGated(backend(), in);
  ExpectSameBits(RunGated(*MakeWith(1), in), all);
  ExpectSameBits(RunGated(*MakeWith(3), in), all);
  const GatedInputs source = in;
  in.rows = 1;
  for (const int64_t row : {0, 12, 30}) {
    in.x = RowsOf(source.x, 33, row, 1);
    in.stacked = RowsOf(source.stacked, in.stride, row, 1);
    in.residual = RowsOf(source.residual, 70, row, 1);
    ExpectSameBits(RunGated(backend(), in), RowsOf(all, 70, row, 1));
  }
}

// How a device cuts the product into blocks depends on its rows.
TEST_P(GatedOutputTest, GivesARowTheSameBitsInEveryBatchHoweverWide) {
  constexpr int64_t kMany = 150;
  constexpr int64_t kWidth = 1030;
  constexpr int64_t kInputs = 1100;
  const GatedInputs source(kMany, kWidth, kInputs, DType::kBF16);
  for (const RowKind kind : kRowKinds) {
    GatedInputs in = source;
    in.kind = kind;
    const std::vector<float> all = RunGated(backend(), in);
    for (const int64_t count : {1, 16, 33, 64, 65, 149}) {
      if (count == 1 && kind == RowKind::kChunk) continue;  // a decode row
      SCOPED_TRACE(count);
      const int64_t first = kMany - count;
      in.rows = count;
      in.x = RowsOf(source.x, kInputs, first, count);
      in.stacked = RowsOf(source.stacked, in.stride, first, count);
      in.residual = RowsOf(source.residual, kWidth, first, count);
      ExpectSameBits(RunGated(backend(), in),
                     RowsOf(all, kWidth, first, count));
    }
  }
}

TEST_P(GatedOutputTest, RejectsStridesBelowTheWidth) {
  const auto weight = Pack(backend(), RandomMatrix(4, 2, DType::kF32, 1));
  const absl::Status candidate = backend().Run(GatedOutput{
      .weight = weight.get(), .candidate = {nullptr, 3}, .gate = {nullptr, 4}});
  EXPECT_EQ(candidate.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(candidate.message()), HasSubstr("stride 3"));
  const absl::Status gate = backend().Run(GatedOutput{
      .weight = weight.get(), .candidate = {nullptr, 4}, .gate = {nullptr, 0}});
  EXPECT_EQ(gate.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(backend().Run(GatedOutput{}).code(),
            absl::StatusCode::kInvalidArgument);
}

CHELA_ON_EVERY_BACKEND(GatedOutputTest);

struct HeadInputs {
  HeadInputs(NormKind norm_kind, int64_t vocab, int64_t cols, DType dtype)
      : width(cols),
        x(RandomFloats(kSteps * cols, -2, 2, 1)),
        norm(RandomNorm(norm_kind, cols)),
        weight(RandomMatrix(vocab, cols, dtype, 2)) {}

  static constexpr int64_t kSteps = 20;
  int64_t width;
  std::vector<float> x;
  reference::NormWeights norm;
  reference::Matrix weight;
};

std::vector<float> RunHead(Backend& backend, const HeadInputs& in,
                           const std::vector<int32_t>& rows) {
  const Rows batch{{.rows = HeadInputs::kSteps}};
  const std::unique_ptr<Matrix> weight = Pack(backend, in.weight);
  NormOn norm(backend, in.norm);
  Tensor x(backend, in.x);
  const auto count = static_cast<int32_t>(rows.size());
  Tensor logits(backend, count * in.weight.rows);
  EXPECT_TRUE(backend.BeginStep(batch.step()).ok());
  const absl::Status status = backend.Run(LogitsHead{.x = x.data(),
                                                     .norm = norm.norm,
                                                     .weight = weight.get(),
                                                     .rows = rows.data(),
                                                     .num_rows = count,
                                                     .logits = logits.data()});
  EXPECT_TRUE(status.ok()) << status;
  return logits.Read();
}

using LogitsHeadTest = KernelTest;

TEST_P(LogitsHeadTest, MatchesTheReferenceForTheChosenRows) {
  const std::vector<int32_t> rows = {19, 0, 7, 7};
  for (const NormKind kind : {NormKind::kRms, NormKind::kLayer}) {
    for (const DType dtype : DTypes()) {
      for (const int64_t width : {1, 33, 64}) {
        SCOPED_TRACE(::testing::Message() << Name(dtype) << " " << width);
        const HeadInputs in(kind, 99, width, dtype);
        std::vector<reference::Real> want;
        for (const int32_t row : rows) {
          const auto values = reference::LogitsHead(RowsOf(in.x, width, row, 1),
                                                    in.norm, in.weight);
          want.insert(want.end(), values.begin(), values.end());
        }
        ExpectWithin(RunHead(backend(), in, rows), want);
      }
    }
  }
}

TEST_P(LogitsHeadTest, GivesARowTheSameBitsWhicheverRowsAreAskedFor) {
  const HeadInputs in(NormKind::kRms, 70, 50, DType::kBF16);
  const std::vector<float> one = RunHead(backend(), in, {11});
  const std::vector<float> many = RunHead(backend(), in, {3, 11, 5, 11, 0});
  ExpectSameBits(RowsOf(many, 70, 1, 1), one);
  ExpectSameBits(RowsOf(many, 70, 3, 1), one);
  ExpectSameBits(RunHead(*MakeWith(3), in, {11}), one);
}

TEST_P(LogitsHeadTest, DoesNothingForNoRows) {
  const HeadInputs in(NormKind::kRms, 5, 4, DType::kBF16);
  const auto weight = Pack(backend(), in.weight);
  EXPECT_TRUE(
      backend().Run(LogitsHead{.norm = {}, .weight = weight.get()}).ok());
}

TEST_P(LogitsHeadTest, RejectsRowsThatTheStepDoesNotHave) {
  const auto weight = Pack(backend(), RandomMatrix(5, 4, DType::kF32, 1));
  const Rows batch{{.rows = 3}};
  ASSERT_TRUE(backend().BeginStep(batch.step()).ok());
  for (const int32_t row : {-1, 3}) {
    const absl::Status status = backend().Run(LogitsHead{
        .norm = {}, .weight = weight.get(), .rows = &row, .num_rows = 1});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("0 to 2"));
  }
  EXPECT_EQ(
      backend()
          .Run(LogitsHead{.norm = {}, .weight = weight.get(), .num_rows = -1})
          .code(),
      absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(backend().Run(LogitsHead{}).code(),
            absl::StatusCode::kInvalidArgument);
}

CHELA_ON_EVERY_BACKEND(LogitsHeadTest);

}  // namespace
}  // namespace chela
