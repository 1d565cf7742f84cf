#include "kernels/short_convolution.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "tests/reference/ops.h"
#include "tests/support/kernel_test.h"

namespace chela {
namespace {

constexpr int32_t kSlots = 4;
// Floats between the slots' parts, which belong to other stages.
constexpr int64_t kGap = 5;

// The weights of one short convolution and some sequences of inputs.
struct Stage {
  Stage(int32_t stage_width, int32_t stage_taps, NormKind kind)
      : width(stage_width),
        taps(stage_taps),
        norm{kind, 1e-5f, RandomFloats(width, -2, 2, 1), {}},
        weight(RandomFloats(int64_t{taps} * width, -1, 1, 3)),
        bias(RandomFloats(width, -1, 1, 4)) {
    if (kind == NormKind::kLayer) norm.bias = RandomFloats(width, -1, 1, 2);
  }

  int64_t slot_stride() const { return int64_t{taps - 1} * width + kGap; }
  std::vector<float> Sequence(int64_t tokens, uint32_t seed) const {
    return RandomFloats(tokens * width, -3, 3, seed);
  }

  int32_t width;
  int32_t taps;
  reference::NormWeights norm;
  std::vector<float> weight;
  std::vector<float> bias;
};

// A backend's copy of a stage and its states, which begin poisoned.
class StageOn {
 public:
  StageOn(Backend& backend, const Stage& stage)
      : backend_(backend),
        stage_(stage),
        norm_weight_(backend, stage.norm.weight),
        norm_bias_(backend, stage.norm.bias),
        weight_(backend, stage.weight),
        bias_(backend, stage.bias),
        state_(backend, kSlots * stage.slot_stride()) {}

  // One step; x holds its rows. Returns u, then a.
  std::vector<float> Step(const Rows& rows, const std::vector<float>& x) {
    Tensor inputs(backend_, x);
    Tensor u(backend_, static_cast<int64_t>(x.size()));
    Tensor a(backend_, static_cast<int64_t>(x.size()));
    EXPECT_TRUE(backend_.BeginStep(rows.step()).ok());
    ShortConvolution op{.width = stage_.width,
                        .taps = stage_.taps,
                        .x = inputs.data(),
                        .norm = {.kind = stage_.norm.kind,
                                 .eps = stage_.norm.eps,
                                 .weight = norm_weight_.data()},
                        .weight = weight_.data(),
                        .bias = bias_.data(),
                        .state = {state_.data(), stage_.slot_stride()},
                        .u = u.data(),
                        .a = a.data()};
    if (!stage_.norm.bias.empty()) op.norm.bias = norm_bias_.data();
    const absl::Status status = backend_.Run(op);
    EXPECT_TRUE(status.ok()) << status;
    std::vector<float> both = u.Read();
    const std::vector<float> second = a.Read();
    both.insert(both.end(), second.begin(), second.end());
    return both;
  }

  std::vector<float> State() const { return state_.Read(); }

 private:
  Backend& backend_;
  const Stage& stage_;
  Tensor norm_weight_;
  Tensor norm_bias_;
  Tensor weight_;
  Tensor bias_;
  Tensor state_;
};

// a of a whole sequence, fed to `slot` in steps of the given sizes.
std::vector<float> Feed(StageOn& stage, int64_t width, int32_t slot,
                        const std::vector<float>& x,
                        const std::vector<int32_t>& sizes) {
  std::vector<float> all;
  const auto tokens =
      static_cast<int32_t>(static_cast<int64_t>(x.size()) / width);
  for (const Segment& part : Split(slot, tokens, sizes)) {
    const std::vector<float> both =
        stage.Step(Rows{part}, RowsOf(x, width, part.position, part.rows));
    const std::vector<float> a = RowsOf(both, width, part.rows, part.rows);
    all.insert(all.end(), a.begin(), a.end());
  }
  return all;
}

std::vector<std::vector<float>> AsRows(const std::vector<float>& values,
                                       int64_t width) {
  std::vector<std::vector<float>> rows;
  for (size_t at = 0; at < values.size(); at += static_cast<size_t>(width)) {
    rows.push_back(RowsOf(values, 1, static_cast<int64_t>(at), width));
  }
  return rows;
}

using ShortConvolutionTest = KernelTest;

TEST_P(ShortConvolutionTest, MatchesTheReference) {
  for (const NormKind kind : {NormKind::kRms, NormKind::kLayer}) {
    for (const int32_t width : {1, 7, 33, 64}) {
      for (const int32_t taps : {1, 2, 4, 7, 9, 12}) {
        SCOPED_TRACE(::testing::Message() << width << " x " << taps);
        const Stage stage(width, taps, kind);
        const std::vector<float> x = stage.Sequence(11, 9);
        const auto result = reference::ShortConvolution(
            AsRows(x, width), stage.norm, AsRows(stage.weight, width),
            stage.bias);
        std::vector<reference::Real> want;
        for (const auto& rows : {result.u, result.a}) {
          for (const auto& row : rows) {
            want.insert(want.end(), row.begin(), row.end());
          }
        }
        StageOn on(backend(), stage);
        ExpectWithin(on.Step(Rows{{.slot = 2, .rows = 11}}, x), want);
      }
    }
  }
}

TEST_P(ShortConvolutionTest, GivesTheSameBitsHoweverAPromptIsSplit) {
  for (const int32_t taps : {1, 2, 5, 7, 9, 12}) {
    SCOPED_TRACE(taps);
    const Stage stage(37, taps, NormKind::kRms);
    const std::vector<float> x = stage.Sequence(40, 9);
    StageOn whole(backend(), stage);
    const std::vector<float> want = Feed(whole, 37, 1, x, {40});
    for (const std::vector<int32_t>& sizes :
         std::vector<std::vector<int32_t>>{{1}, {3}, {39, 1}, {2, 17, 5, 1}}) {
      StageOn split(backend(), stage);
      ExpectSameBits(Feed(split, 37, 1, x, sizes), want);
      ExpectSameBits(split.State(), whole.State());
    }
  }
}

TEST_P(ShortConvolutionTest, KeepsTheSequencesOfABatchApart) {
  const Stage stage(19, 4, NormKind::kRms);
  const std::vector<float> one = stage.Sequence(9, 21);
  const std::vector<float> two = stage.Sequence(9, 22);
  StageOn alone_one(backend(), stage);
  StageOn alone_two(backend(), stage);
  const std::vector<float> want_one = Feed(alone_one, 19, 0, one, {4, 5});
  const std::vector<float> want_two = Feed(alone_two, 19, 0, two, {9});

  // Together, in other slots, and with another split.
  StageOn both(backend(), stage);
  std::vector<float> x = RowsOf(two, 19, 0, 6);
  const std::vector<float> first = RowsOf(one, 19, 0, 4);
  x.insert(x.end(), first.begin(), first.end());
  const Rows begin{{.slot = 1, .rows = 6}, {.slot = 3, .rows = 4}};
  std::vector<float> out = both.Step(begin, x);
  ExpectSameBits(RowsOf(out, 19, 10, 6), RowsOf(want_two, 19, 0, 6));
  ExpectSameBits(RowsOf(out, 19, 16, 4), RowsOf(want_one, 19, 0, 4));

  x = RowsOf(one, 19, 4, 5);
  const std::vector<float> last = RowsOf(two, 19, 6, 3);
  x.insert(x.end(), last.begin(), last.end());
  const Rows end{{.slot = 3, .rows = 5, .position = 4},
                 {.slot = 1, .rows = 3, .position = 6}};
  out = both.Step(end, x);
  ExpectSameBits(RowsOf(out, 19, 8, 5), RowsOf(want_one, 19, 4, 5));
  ExpectSameBits(RowsOf(out, 19, 13, 3), RowsOf(want_two, 19, 6, 3));
}

TEST_P(ShortConvolutionTest, LeavesOtherSlotsAndTheGapsAlone) {
  const Stage stage(8, 3, NormKind::kRms);
  StageOn on(backend(), stage);
  const std::vector<float> before = on.State();
  on.Step(Rows{{.slot = 1, .rows = 5}}, stage.Sequence(5, 1));
  const std::vector<float> after = on.State();
  const int64_t stride = stage.slot_stride();
  ExpectSameBits(RowsOf(after, 1, 0, stride), RowsOf(before, 1, 0, stride));
  ExpectSameBits(RowsOf(after, 1, 2 * stride - kGap, 2 * stride + kGap),
                 RowsOf(before, 1, 2 * stride - kGap, 2 * stride + kGap));
}

TEST_P(ShortConvolutionTest, ForgetsTheSlotsLastOwnerAtPositionZero) {
  const Stage stage(8, 7, NormKind::kRms);
  StageOn fresh(backend(), stage);
  StageOn reused(backend(), stage);
  reused.Step(Rows{{.slot = 2, .rows = 9}}, stage.Sequence(9, 1));
  const std::vector<float> x = stage.Sequence(2, 2);
  const Rows rows{{.slot = 2, .rows = 2}};
  ExpectSameBits(reused.Step(rows, x), fresh.Step(rows, x));
  // Nor is anything of it left to be saved with the new sequence.
  const std::vector<float> state =
      RowsOf(reused.State(), 1, 2 * stage.slot_stride(), 6 * 8);
  for (int64_t i = 2 * 8; i < 6 * 8; ++i) EXPECT_EQ(state[i], 0.0f) << i;
}

TEST_P(ShortConvolutionTest, GivesTheSameBitsOnAnyNumberOfThreads) {
  const Stage stage(256, 4, NormKind::kRms);
  const std::vector<float> x = stage.Sequence(200, 3);
  const auto one = MakeWith(1);
  StageOn alone(*one, stage);
  const Rows rows{{.slot = 0, .rows = 150}, {.slot = 3, .rows = 50}};
  const std::vector<float> want = alone.Step(rows, x);
  for (const int32_t threads : {2, 3}) {
    const auto many = MakeWith(threads);
    StageOn on(*many, stage);
    ExpectSameBits(on.Step(rows, x), want);
    ExpectSameBits(on.State(), alone.State());
  }
}

TEST_P(ShortConvolutionTest, RejectsSizesBelowOneAndSlotsTooSmall) {
  const auto run = [&](int32_t width, int32_t taps, int64_t stride) {
    return backend()
        .Run(ShortConvolution{.width = width,
                              .taps = taps,
                              .norm = {},
                              .state = {nullptr, stride}})
        .code();
  };
  EXPECT_EQ(run(0, 3, 99), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(run(4, 0, 99), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(run(4, 3, 7), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(run(4, 3, 8), absl::StatusCode::kOk);  // No rows: does nothing.
}

CHELA_ON_EVERY_BACKEND(ShortConvolutionTest);

}  // namespace
}  // namespace chela
