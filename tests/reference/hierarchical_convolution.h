#ifndef CHELA_TESTS_REFERENCE_HIERARCHICAL_CONVOLUTION_H_
#define CHELA_TESTS_REFERENCE_HIERARCHICAL_CONVOLUTION_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "tests/reference/value.h"

namespace chela::reference {

// A hierarchical kernel as HierarchicalConvolution takes it: taps0 [B, width],
// taps [S, B/2, width], skip [width].
struct HierarchicalKernel {
  int32_t width = 0;
  int32_t base_length = 0;  // B
  int32_t levels = 0;       // S
  std::vector<float> taps0;
  std::vector<float> taps;
  std::vector<float> skip;

  int64_t StateRows() const {
    return base_length + int64_t{levels} * (base_length / 2 + 2);
  }
};

// a at (position, channel); called for positions >= 0 only.
using TokenInput = std::function<double(int64_t position, int32_t channel)>;

// b_level[index] of the header: the mean of a block; its magnitude is the mean
// of |a|. 0 for a negative index.
Value BlockMean(const TokenInput& a, int32_t level, int64_t index,
                int32_t channel);

// c_t by the definition, all lags and blocks summed afresh.
Value HierarchicalOutput(const HierarchicalKernel& kernel, const TokenInput& a,
                         int64_t t, int32_t channel);

// The state of a slot, [StateRows(), width], that a sequence of `position` >= 1
// tokens must have left, from the definition. Rows that no token has reached
// are 0.
std::vector<Value> HierarchicalState(const HierarchicalKernel& kernel,
                                     const TokenInput& a, int64_t position);

}  // namespace chela::reference

#endif  // CHELA_TESTS_REFERENCE_HIERARCHICAL_CONVOLUTION_H_
