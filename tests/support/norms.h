#ifndef CHELA_TESTS_SUPPORT_NORMS_H_
#define CHELA_TESTS_SUPPORT_NORMS_H_

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/norm.h"
#include "tests/reference/ops.h"
#include "tests/support/kernel_test.h"

namespace chela {

// A norm of random weights, and a random bias if it takes one.
reference::NormWeights RandomNorm(NormKind kind, int64_t width);

// A norm with its weights on a backend.
struct NormOn {
  NormOn(Backend& backend, const reference::NormWeights& from);

  Tensor weight;
  Tensor bias;
  Norm norm;
};

}  // namespace chela

#endif  // CHELA_TESTS_SUPPORT_NORMS_H_
