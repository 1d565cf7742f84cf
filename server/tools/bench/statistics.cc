#include "server/tools/bench/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>

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

double RecurringTail(const std::vector<double>& samples,
                     const std::vector<int64_t>& phases) {
  std::map<int64_t, std::vector<double>> seen;
  for (size_t i = 0; i < samples.size(); ++i) {
    seen[phases[i]].push_back(samples[i]);
  }
  std::vector<double> medians;
  for (const auto& [phase, repeats] : seen) {
    medians.push_back(Percentile(repeats, 0.5));
  }
  const double median = Percentile(medians, 0.5);
  return median > 0 ? Percentile(medians, 0.99) / median : 0;
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
