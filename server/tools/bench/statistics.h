#ifndef CHELA_SERVER_TOOLS_BENCH_STATISTICS_H_
#define CHELA_SERVER_TOOLS_BENCH_STATISTICS_H_

#include <cstdint>
#include <vector>

namespace chela::bench {

// The sample below which a fraction `p` in [0, 1] of the samples lies, linear
// between the two nearest ranks: 0 is the least, 1 the greatest. 0 without
// samples.
double Percentile(std::vector<double> samples, double p);

// The 99th percentile over the median of what comes back: samples with equal
// `phases` (same length) are one event seen repeatedly, and count by their
// median. Disturbances that do not come back at the same phase fall out. 0
// without samples.
double RecurringTail(const std::vector<double>& samples,
                     const std::vector<int64_t>& phases);

// How repeated measurements of one thing lie. All 0 without samples.
struct Spread {
  double median = 0;
  double min = 0;
  double max = 0;
  double iqr = 0;  // third quartile - first quartile

  // A median whose quartiles are further apart than 5% of it proves nothing.
  bool conclusive() const { return median > 0 && iqr <= 0.05 * median; }
};
Spread Summarize(const std::vector<double>& samples);

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_STATISTICS_H_
