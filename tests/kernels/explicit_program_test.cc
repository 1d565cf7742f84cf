// Decode steps of many explicit convolutions as one program, which a GPU
// records, and whose tiles it leaves for the end.
#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "tests/kernels/explicit_rig.h"
#include "tests/kernels/program_rig.h"

namespace chela {
namespace {

using ExplicitProgramTest = ExplicitConvolutionTest;

// Convolutions of two lengths, which take turns after the first ones.
class ExplicitLayers final : public ProgramRig {
 public:
  ExplicitLayers(Backend& backend, int32_t rows)
      : ProgramRig(backend, rows, kWidth),
        skip_(backend, RandomFloats(kWidth, -1, 1, 2)) {
    for (int32_t layer = 0; layer < kLayers; ++layer) {
      const int64_t length = layer > 34 && layer % 2 == 0 ? 90 : 200;
      const auto taps = RandomKernel(kWidth, length);
      auto made =
          backend.MakeExplicitKernel(taps.kernel.data(), kWidth, length);
      EXPECT_TRUE(made.ok()) << made.status();
      kernels_.push_back(*std::move(made));
      const auto ring =
          static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(length)));
      state_floats_.push_back(ring * kWidth);
      states_.push_back(
          std::make_unique<Tensor>(backend, rows * state_floats_.back()));
      c_.push_back(std::make_unique<Tensor>(backend, int64_t{rows} * kWidth));
    }
  }

 protected:
  absl::Status Run() override {
    for (size_t layer = 0; layer < kLayers; ++layer) {
      const absl::Status status = backend().Run(ExplicitConvolution{
          .kernel = kernels_[layer].get(),
          .layer = static_cast<int32_t>(layer),
          .a = input(),
          .skip = skip_.data(),
          .state = {states_[layer]->data(), state_floats_[layer]},
          .c = c_[layer]->data()});
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }
  std::vector<float> Outputs() override {
    std::vector<float> all;
    for (const auto& c : c_) {
      const std::vector<float> values = c->Read();
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }

 private:
  // Two groups of channels and a part.
  static constexpr int32_t kWidth = 70;
  // More than a GPU's launch of tiles takes.
  static constexpr int32_t kLayers = 40;
  Tensor skip_;
  std::vector<std::unique_ptr<ExplicitKernel>> kernels_;
  std::vector<int64_t> state_floats_;
  std::vector<std::unique_ptr<Tensor>> states_;
  std::vector<std::unique_ptr<Tensor>> c_;
};

TEST_P(ExplicitProgramTest, AProgramGivesTheBitsOfItsOpsOneByOne) {
  for (const int32_t rows : {1, 3}) {
    SCOPED_TRACE(rows);
    ExplicitLayers program(backend(), rows);
    ExplicitLayers ops(backend(), rows);
    ExpectProgramIsItsOps(program, ops, 290);  // over the end of the ring
  }
}

CHELA_ON_EVERY_BACKEND(ExplicitProgramTest);

}  // namespace
}  // namespace chela
