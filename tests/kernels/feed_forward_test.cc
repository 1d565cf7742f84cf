#include "kernels/feed_forward.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/backend.h"
#include "tests/reference/ops.h"
#include "tests/support/kernel_test.h"
#include "tests/support/norms.h"

namespace chela {
namespace {

struct FeedForwardInputs {
  FeedForwardInputs(FeedForwardKind ffn, NormKind norm_kind, int64_t count,
                    int64_t out_width, int64_t inner, DType dtype)
      : kind(ffn),
        rows(count),
        width(out_width),
        y(RandomFloats(count * out_width, -2, 2, 1)),
        norm(RandomNorm(norm_kind, out_width)),
        up(RandomMatrix((ffn == FeedForwardKind::kSwiglu ? 2 : 1) * inner,
                        out_width, dtype, 2)),
        down(RandomMatrix(out_width, inner, dtype, 3)) {}

  FeedForwardKind kind;
  int64_t rows;
  RowKind row_kind = RowKind::kDecode;
  int64_t width;
  std::vector<float> y;
  reference::NormWeights norm;
  reference::Matrix up;
  reference::Matrix down;
};

std::vector<float> RunFeedForward(Backend& backend, const FeedForwardInputs& in,
                                  bool in_place = false) {
  const Rows batch = MakeRows(in.rows, in.row_kind);
  const std::unique_ptr<Matrix> up = Pack(backend, in.up);
  const std::unique_ptr<Matrix> down = Pack(backend, in.down);
  NormOn norm(backend, in.norm);
  Tensor y(backend, in.y);
  Tensor out(backend, in.rows * in.width);
  EXPECT_TRUE(backend.BeginStep(batch.step()).ok());
  const absl::Status status =
      backend.Run(FeedForward{.kind = in.kind,
                              .y = y.data(),
                              .norm = norm.norm,
                              .up = up.get(),
                              .down = down.get(),
                              .out = in_place ? y.data() : out.data()});
  EXPECT_TRUE(status.ok()) << status;
  return in_place ? y.Read() : out.Read();
}

class FeedForwardTest : public KernelTest {
 protected:
  void ExpectMatch(FeedForwardInputs in) {
    std::vector<reference::Real> want;
    for (int64_t row = 0; row < in.rows; ++row) {
      const auto values = reference::FeedForward(
          in.kind, RowsOf(in.y, in.width, row, 1), in.norm, in.up, in.down);
      want.insert(want.end(), values.begin(), values.end());
    }
    for (const RowKind row_kind : kRowKinds) {
      in.row_kind = row_kind;
      ExpectWithin(RunFeedForward(backend(), in), want);
    }
  }
};

TEST_P(FeedForwardTest, MatchesTheReferenceForEveryKindNormAndType) {
  for (const FeedForwardKind kind :
       {FeedForwardKind::kSwiglu, FeedForwardKind::kSilu}) {
    for (const NormKind norm : {NormKind::kRms, NormKind::kLayer}) {
      for (const DType dtype : DTypes()) {
        SCOPED_TRACE(::testing::Message()
                     << static_cast<int>(kind) << static_cast<int>(norm)
                     << Name(dtype));
        ExpectMatch({kind, norm, 5, 33, 45, dtype});
      }
    }
  }
}

TEST_P(FeedForwardTest, MatchesTheReferenceForOddShapes) {
  for (const int64_t rows : {1, 5, 27}) {
    for (const int64_t width : {1, 7, 64}) {
      for (const int64_t inner : {1, 31, 64}) {
        SCOPED_TRACE(::testing::Message()
                     << rows << " x " << width << " x " << inner);
        ExpectMatch({FeedForwardKind::kSwiglu, NormKind::kRms, rows, width,
                     inner, DType::kBF16});
      }
    }
  }
}

TEST_P(FeedForwardTest, MayReplaceItsInput) {
  const FeedForwardInputs in(FeedForwardKind::kSwiglu, NormKind::kRms, 14, 45,
                             37, DType::kBF16);
  ExpectSameBits(RunFeedForward(backend(), in, true),
                 RunFeedForward(backend(), in));
}

TEST_P(FeedForwardTest, GivesARowTheSameBitsAloneAndOnAnyThreads) {
  const FeedForwardInputs source(FeedForwardKind::kSwiglu, NormKind::kLayer,
                                 101, 65, 70, DType::kBF16);
  for (const RowKind row_kind : kRowKinds) {
    FeedForwardInputs in = source;
    in.row_kind = row_kind;
    const std::vector<float> all = RunFeedForward(backend(), in);
    ExpectSameBits(RunFeedForward(*MakeWith(1), in), all);
    ExpectSameBits(RunFeedForward(*MakeWith(3), in), all);
    for (const int64_t count : {1, 2, 9, 17, 40}) {
      if (count == 1 && row_kind == RowKind::kChunk) continue;  // a decode row
      in.rows = count;
      in.y = RowsOf(source.y, 65, 50, count);
      ExpectSameBits(RunFeedForward(backend(), in), RowsOf(all, 65, 50, count));
    }
  }
}

// How a device cuts the first product into blocks depends on its rows.
TEST_P(FeedForwardTest, GivesARowTheSameBitsInEveryBatchHoweverWide) {
  constexpr int64_t kRows = 150;
  constexpr int64_t kWidth = 590;
  const FeedForwardInputs source(FeedForwardKind::kSwiglu, NormKind::kRms,
                                 kRows, kWidth, 1100, DType::kBF16);
  for (const RowKind row_kind : kRowKinds) {
    FeedForwardInputs in = source;
    in.row_kind = row_kind;
    const std::vector<float> all = RunFeedForward(backend(), in);
    for (const int64_t count : {1, 8, 16, 32, 64, 149}) {
      if (count == 1 && row_kind == RowKind::kChunk) continue;  // a decode row
      SCOPED_TRACE(count);
      const int64_t first = kRows - count;
      in.rows = count;
      in.y = RowsOf(source.y, kWidth, first, count);
      ExpectSameBits(RunFeedForward(backend(), in),
                     RowsOf(all, kWidth, first, count));
    }
  }
}

TEST_P(FeedForwardTest, RejectsMatricesThatDoNotFit) {
  const auto up = Pack(backend(), RandomMatrix(6, 4, DType::kF32, 1));
  const auto down = Pack(backend(), RandomMatrix(4, 3, DType::kF32, 2));
  const auto other = Pack(backend(), RandomMatrix(5, 3, DType::kF32, 3));
  const auto run = [&](FeedForwardKind kind, const Matrix* first,
                       const Matrix* second) {
    return backend()
        .Run(FeedForward{.kind = kind, .norm = {}, .up = first, .down = second})
        .code();
  };
  constexpr auto kSwiglu = FeedForwardKind::kSwiglu;
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(run(FeedForwardKind::kSilu, up.get(), down.get()), kInvalid);
  EXPECT_EQ(run(kSwiglu, up.get(), other.get()), kInvalid);
  EXPECT_EQ(run(kSwiglu, nullptr, down.get()), kInvalid);
  EXPECT_EQ(run(kSwiglu, up.get(), nullptr), kInvalid);
  EXPECT_EQ(run(static_cast<FeedForwardKind>(7), up.get(), down.get()),
            kInvalid);
}

TEST_P(FeedForwardTest, RejectsANormWithoutItsBiasOrWithAnUnusedOne) {
  const auto up = Pack(backend(), RandomMatrix(6, 4, DType::kF32, 1));
  const auto down = Pack(backend(), RandomMatrix(4, 3, DType::kF32, 2));
  const float bias[4] = {};
  const auto run = [&](const Norm& norm) {
    return backend()
        .Run(FeedForward{.norm = norm, .up = up.get(), .down = down.get()})
        .code();
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(run({.kind = NormKind::kLayer}), kInvalid);
  EXPECT_EQ(run({.kind = NormKind::kRms, .bias = bias}), kInvalid);
  EXPECT_EQ(run({.eps = -1.0f}), kInvalid);
  EXPECT_EQ(run({.eps = NAN}), kInvalid);
  EXPECT_EQ(run({.kind = static_cast<NormKind>(5)}), kInvalid);
}

CHELA_ON_EVERY_BACKEND(FeedForwardTest);

}  // namespace
}  // namespace chela
