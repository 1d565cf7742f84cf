#ifndef CHELA_TESTS_KERNELS_LINEAR_RIG_H_
#define CHELA_TESTS_KERNELS_LINEAR_RIG_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/backend.h"
#include "kernels/linear.h"
#include "tests/reference/ops.h"
#include "tests/support/kernel_test.h"

namespace chela {

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
inline std::vector<float> RunLinear(Backend& backend, const LinearInputs& in,
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

inline std::vector<float> RunLinear(Backend& backend, const LinearInputs& in) {
  return RunLinear(backend, in, in.x);
}

}  // namespace chela

#endif  // CHELA_TESTS_KERNELS_LINEAR_RIG_H_
