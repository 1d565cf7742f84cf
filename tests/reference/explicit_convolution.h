#ifndef CHELA_TESTS_REFERENCE_EXPLICIT_CONVOLUTION_H_
#define CHELA_TESTS_REFERENCE_EXPLICIT_CONVOLUTION_H_

#include <cstdint>
#include <vector>

#include "tests/reference/value.h"

namespace chela::reference {

// An explicit kernel: kernel [width, length] as the checkpoint stores it, skip
// [width].
struct PlainKernel {
  int32_t width = 0;
  int64_t length = 0;  // N
  std::vector<float> kernel;
  std::vector<float> skip;
};

// c_t = sum_{m<N} kernel[m] a_{t-m} + skip . a_t by the definition, for one
// token and channel; a: [tokens, width] from position 0.
Value ExplicitOutput(const PlainKernel& kernel, const std::vector<float>& a,
                     int64_t t, int32_t channel);

}  // namespace chela::reference

#endif  // CHELA_TESTS_REFERENCE_EXPLICIT_CONVOLUTION_H_
