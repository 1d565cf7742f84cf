// Decode steps of layers of short and hierarchical convolutions as one program,
// which a GPU records.
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "tests/kernels/hierarchical_rig.h"
#include "tests/kernels/program_rig.h"

namespace chela {
namespace {

using ConvolutionProgramTest = KernelTest;

// Each layer reads the one before it.
class ConvolutionLayers final : public ProgramRig {
 public:
  ConvolutionLayers(Backend& backend, int32_t rows, int32_t width)
      : ProgramRig(backend, rows, width),
        width_(width),
        kernel_(RandomKernel(width, 6, 5)),
        norm_(backend, RandomFloats(width, -2, 2, 4)),
        weight_(backend, RandomFloats(int64_t{kTaps} * width, -1, 1, 5)),
        bias_(backend, RandomFloats(width, -1, 1, 6)),
        long_kernel_(backend, kernel_) {
    const int64_t floats = int64_t{rows} * width;
    for (int32_t layer = 0; layer < kLayers; ++layer) {
      short_states_.push_back(
          std::make_unique<Tensor>(backend, (kTaps - 1) * floats));
      long_states_.push_back(
          std::make_unique<Tensor>(backend, kernel_.StateRows() * floats));
      for (int32_t i = 0; i < 3; ++i) {
        results_.push_back(std::make_unique<Tensor>(backend, floats));
      }
    }
  }

 protected:
  absl::Status Run() override {
    const float* x = input();
    for (size_t layer = 0; layer < kLayers; ++layer) {
      float* const u = results_[3 * layer]->data();
      float* const a = results_[3 * layer + 1]->data();
      float* const c = results_[3 * layer + 2]->data();
      absl::Status status = backend().Run(ShortConvolution{
          .width = width_,
          .taps = kTaps,
          .x = x,
          .norm = {.weight = norm_.data()},
          .weight = weight_.data(),
          .bias = bias_.data(),
          .state = {short_states_[layer]->data(), (kTaps - 1) * width_},
          .u = u,
          .a = a});
      status.Update(backend().Run(long_kernel_.Op(
          a, {long_states_[layer]->data(), kernel_.StateRows() * width_}, c)));
      if (!status.ok()) return status;
      x = c;
    }
    return absl::OkStatus();
  }
  std::vector<float> Outputs() override {
    std::vector<float> all;
    for (const auto* tensors : {&results_, &long_states_}) {
      for (const auto& tensor : *tensors) {
        const std::vector<float> values = tensor->Read();
        all.insert(all.end(), values.begin(), values.end());
      }
    }
    return all;
  }

 private:
  static constexpr int32_t kLayers = 3;
  static constexpr int32_t kTaps = 5;
  const int32_t width_;
  const reference::HierarchicalKernel kernel_;
  Tensor norm_;
  Tensor weight_;
  Tensor bias_;
  HierarchicalTensors long_kernel_;
  std::vector<std::unique_ptr<Tensor>> short_states_;
  std::vector<std::unique_ptr<Tensor>> long_states_;
  std::vector<std::unique_ptr<Tensor>> results_;
};

TEST_P(ConvolutionProgramTest, AProgramGivesTheBitsOfItsOpsOneByOne) {
  // Widths that blocks of 128 channels fill, that end within one, and that
  // cannot be moved four at a time.
  for (const int32_t width : {256, 164, 38}) {
    for (const int32_t rows : {1, 9}) {
      SCOPED_TRACE(::testing::Message() << width << " x " << rows);
      ConvolutionLayers program(backend(), rows, width);
      ConvolutionLayers ops(backend(), rows, width);
      ExpectProgramIsItsOps(program, ops,
                            200);  // over all levels' first blocks
    }
  }
}

CHELA_ON_EVERY_BACKEND(ConvolutionProgramTest);

}  // namespace
}  // namespace chela
