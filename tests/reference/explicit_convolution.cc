#include "tests/reference/explicit_convolution.h"

#include <algorithm>
#include <cmath>

namespace chela::reference {

Value ExplicitOutput(const PlainKernel& kernel, const std::vector<float>& a,
                     int64_t t, int32_t channel) {
  Value c;
  const auto add = [&](double tap, double x) {
    c.value += tap * x;
    c.magnitude += std::abs(tap * x);
  };
  for (int64_t m = 0; m <= std::min(t, kernel.length - 1); ++m) {
    add(kernel.kernel[channel * kernel.length + m],
        a[(t - m) * kernel.width + channel]);
  }
  add(kernel.skip[channel], a[t * kernel.width + channel]);
  return c;
}

}  // namespace chela::reference
