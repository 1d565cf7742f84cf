#include "tests/reference/hierarchical_convolution.h"

#include <cmath>

namespace chela::reference {
namespace {

void AddTerm(double tap, const Value& x, Value* sum) {
  sum->value += tap * x.value;
  sum->magnitude += std::abs(tap) * x.magnitude;
}

// sum_m taps_level[m] b_level[n - (B/2-1) - m], n the newest complete block
// when `seen` tokens are known.
void AddLevel(const HierarchicalKernel& kernel, const TokenInput& a,
              int32_t level, int64_t seen, int32_t channel, Value* sum) {
  const int64_t half = kernel.base_length / 2;
  const int64_t newest = (seen >> level) - 1;
  for (int64_t m = 0; m < half; ++m) {
    const int64_t tap = ((level - 1) * half + m) * kernel.width + channel;
    AddTerm(kernel.taps[tap],
            BlockMean(a, level, newest - (half - 1) - m, channel), sum);
  }
}

}  // namespace

Value BlockMean(const TokenInput& a, int32_t level, int64_t index,
                int32_t channel) {
  Value mean;
  if (index < 0) return mean;
  const int64_t size = int64_t{1} << level;
  for (int64_t i = index * size; i < (index + 1) * size; ++i) {
    const double x = a(i, channel);
    mean.value += x / static_cast<double>(size);
    mean.magnitude += std::abs(x) / static_cast<double>(size);
  }
  return mean;
}

Value HierarchicalOutput(const HierarchicalKernel& kernel, const TokenInput& a,
                         int64_t t, int32_t channel) {
  Value c;
  for (int64_t m = 0; m < kernel.base_length; ++m) {
    AddTerm(kernel.taps0[m * kernel.width + channel],
            BlockMean(a, 0, t - m, channel), &c);
  }
  for (int32_t level = kernel.levels; level >= 1; --level) {
    AddLevel(kernel, a, level, t + 1, channel, &c);
  }
  AddTerm(kernel.skip[channel], BlockMean(a, 0, t, channel), &c);
  return c;
}

std::vector<Value> HierarchicalState(const HierarchicalKernel& kernel,
                                     const TokenInput& a, int64_t position) {
  const int64_t width = kernel.width;
  const int64_t half = kernel.base_length / 2;
  std::vector<Value> state(kernel.StateRows() * width);
  for (int32_t channel = 0; channel < kernel.width; ++channel) {
    for (int64_t age = 0; age < kernel.base_length; ++age) {
      const int64_t i = position - 1 - age;
      if (i < 0) break;
      state[i % kernel.base_length * width + channel] =
          BlockMean(a, 0, i, channel);
    }
    int64_t first_row = kernel.base_length;
    for (int32_t level = 1; level <= kernel.levels; ++level) {
      const int64_t newest = (position >> level) - 1;
      for (int64_t age = half - 1; age < kernel.base_length; ++age) {
        const int64_t i = newest - age;
        if (i < 0) break;
        state[(first_row + i % (half + 1)) * width + channel] =
            BlockMean(a, level, i, channel);
      }
      first_row += half + 1;
    }
    Value sum;
    for (int32_t level = kernel.levels; level >= 1; --level) {
      AddLevel(kernel, a, level, position, channel, &sum);
      state[(first_row + level - 1) * width + channel] = sum;
    }
  }
  return state;
}

}  // namespace chela::reference
