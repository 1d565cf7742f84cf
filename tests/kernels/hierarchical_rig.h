#ifndef CHELA_TESTS_KERNELS_HIERARCHICAL_RIG_H_
#define CHELA_TESTS_KERNELS_HIERARCHICAL_RIG_H_

#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "tests/kernels/sequence_rig.h"
#include "tests/reference/hierarchical_convolution.h"
#include "tests/support/kernel_test.h"

namespace chela {

inline reference::HierarchicalKernel RandomKernel(int32_t width,
                                                  int32_t base_length,
                                                  int32_t levels) {
  const int64_t half = base_length / 2;
  return {width,
          base_length,
          levels,
          RandomFloats(int64_t{base_length} * width, -1, 1, 1),
          RandomFloats(levels * half * width, -1, 1, 2),
          RandomFloats(width, -1, 1, 3)};
}

inline int32_t Length(const reference::HierarchicalKernel& kernel) {
  return kernel.base_length << kernel.levels;
}

// A state is off by the roundings of its deepest mean and of its sums, an
// output by two more.
inline int Roundings(const reference::HierarchicalKernel& kernel) {
  return kernel.base_length + kernel.levels * (kernel.base_length / 2 + 1) + 3;
}

// A kernel in a backend's memory, and its op.
class HierarchicalTensors {
 public:
  HierarchicalTensors(Backend& backend,
                      const reference::HierarchicalKernel& kernel)
      : kernel_(kernel),
        taps0_(backend, kernel.taps0),
        taps_(backend, kernel.taps),
        skip_(backend, kernel.skip) {}

  HierarchicalConvolution Op(const float* a, const StateView& state, float* c) {
    return {.width = kernel_.width,
            .base_length = kernel_.base_length,
            .levels = kernel_.levels,
            .a = a,
            .taps0 = taps0_.data(),
            .taps = taps_.data(),
            .skip = skip_.data(),
            .state = state,
            .c = c};
  }

 private:
  const reference::HierarchicalKernel& kernel_;
  Tensor taps0_;
  Tensor taps_;
  Tensor skip_;
};

// A backend's copy of a kernel, and sequences of it.
class HierarchicalRig : public SequenceRig {
 public:
  HierarchicalRig(Backend& backend, const reference::HierarchicalKernel& kernel,
                  int32_t slots)
      : SequenceRig(backend, kernel.width, kernel.StateRows() * kernel.width,
                    slots),
        kernel_(backend, kernel) {}

 protected:
  absl::Status Run(const float* a, const StateView& state, float* c) override {
    return backend().Run(kernel_.Op(a, state, c));
  }

 private:
  HierarchicalTensors kernel_;
};

inline reference::TokenInput FromRows(const std::vector<float>& a,
                                      int32_t width) {
  return [&a, width](int64_t position, int32_t channel) {
    return a[position * width + channel];
  };
}

inline std::vector<reference::Value> Definition(
    const reference::HierarchicalKernel& kernel, const reference::TokenInput& a,
    int64_t first, int64_t tokens) {
  std::vector<reference::Value> c;
  for (int64_t t = first; t < first + tokens; ++t) {
    for (int32_t j = 0; j < kernel.width; ++j) {
      c.push_back(reference::HierarchicalOutput(kernel, a, t, j));
    }
  }
  return c;
}

}  // namespace chela

#endif  // CHELA_TESTS_KERNELS_HIERARCHICAL_RIG_H_
