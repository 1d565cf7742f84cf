#ifndef CHELA_SERVER_METRICS_PROCESS_METRICS_H_
#define CHELA_SERVER_METRICS_PROCESS_METRICS_H_

#include <string>
#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace chela {

// The process_* metrics that Prometheus' client libraries agree on (CPU,
// memory, open files, threads, start time), read from /proc at each Collect. A
// value that cannot be read is left out, never reported as 0. Immutable.
class ProcessMetrics : public prometheus::Collectable {
 public:
  // `proc`: where procfs is mounted.
  explicit ProcessMetrics(std::string proc = "/proc");
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  std::string proc_;
};

}  // namespace chela

#endif  // CHELA_SERVER_METRICS_PROCESS_METRICS_H_
