#ifndef CHELA_TESTS_MODELS_WEIGHTS_RIG_H_
#define CHELA_TESTS_MODELS_WEIGHTS_RIG_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "models/weights.h"
#include "tests/support/tiny_model.h"

namespace chela {

using Tensors = std::vector<test_support::TensorToWrite>;

// Loads checkpoints on the CPU.
class WeightsTest : public testing::Test {
 protected:
  WeightsTest() {
    auto backend = MakeBackend({});
    EXPECT_TRUE(backend.ok()) << backend.status();
    backend_ = *std::move(backend);
  }
  absl::StatusOr<std::unique_ptr<Weights>> Load(
      const test_support::TinyModel& model) {
    return Weights::Load(*backend_, model.directory());
  }

  std::unique_ptr<Backend> backend_;
};

inline test_support::TensorToWrite& Find(Tensors& tensors,
                                         const std::string& name) {
  return *std::find_if(tensors.begin(), tensors.end(),
                       [&](const auto& tensor) { return tensor.name == name; });
}

}  // namespace chela

#endif  // CHELA_TESTS_MODELS_WEIGHTS_RIG_H_
