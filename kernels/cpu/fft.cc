#include "kernels/cpu/fft.h"

#include <cmath>
#include <numbers>
#include <utility>

#include "kernels/cpu/long_convolution_tasks.h"

namespace chela {

std::vector<double> MakeTwiddles(int depths) {
  std::vector<double> twiddles;
  twiddles.reserve(kTwiddleElements * ((size_t{1} << depths) - 1));
  std::vector<double> angles = {std::numbers::pi / 2};
  for (int depth = 0; depth < depths; ++depth) {
    std::vector<double> next;
    next.reserve(2 * angles.size());
    for (const double angle : angles) {
      for (int power = 1; power <= 3; ++power) {
        twiddles.push_back(std::cos(power * angle / 4));
        twiddles.push_back(std::sin(power * angle / 4));
      }
      next.push_back(angle / 2);
      next.push_back(angle / 2 + std::numbers::pi);
    }
    angles = std::move(next);
  }
  return twiddles;
}

}  // namespace chela
