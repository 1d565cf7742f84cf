#ifndef CHELA_SERVER_METRICS_DEVICE_METRICS_H_
#define CHELA_SERVER_METRICS_DEVICE_METRICS_H_

#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "server/metrics/metrics.h"

namespace chela {

// The metrics with a label `device`, one series for each device that the server
// was started with. Thread-safe.
class DeviceMetrics : public prometheus::Collectable {
 public:
  explicit DeviceMetrics(const std::string& model);

  // Returns the sum over all devices.
  Metrics::Slots SetSlots(const std::string& device,
                          const Metrics::Slots& slots);
  void SetMemory(const std::string& device, const Metrics::Memory& memory);
  void AddBusy(const std::string& device, double seconds);

  // The utilisation is that of the time since the last call.
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  using Gauges = prometheus::Family<prometheus::Gauge>;
  struct Device {
    Metrics::Slots slots;
    double busy_seconds = 0;  // since the last Collect
  };

  mutable Gauges slots_;
  mutable Gauges memory_;
  mutable Gauges utilization_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, Device> devices_;
  mutable std::chrono::steady_clock::time_point collected_ =
      std::chrono::steady_clock::now();
};

}  // namespace chela

#endif  // CHELA_SERVER_METRICS_DEVICE_METRICS_H_
