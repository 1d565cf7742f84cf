#include "server/tools/bench/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace chela::bench {

double Percentile(std::vector<double> samples, double p) {
  if (samples.empty()) return 0;
  std::sort(samples.begin(), samples.end());
  const double rank =
      std::clamp(p, 0.0, 1.0) * static_cast<double>(samples.size() - 1);
  const auto below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, samples.size() - 1);
  const double share = rank - static_cast<double>(below);
  return samples[below] + share * (samples[above] - samples[below]);
}

Spread Summarize(const std::vector<double>& samples) {
  Spread spread;
  spread.median = Percentile(samples, 0.5);
  spread.min = Percentile(samples, 0);
  spread.max = Percentile(samples, 1);
  spread.iqr = Percentile(samples, 0.75) - Percentile(samples, 0.25);
  return spread;
}

}  // namespace chela::bench
