#include "server/metrics/device_metrics.h"

#include <algorithm>

namespace chela {

DeviceMetrics::DeviceMetrics(const std::string& model)
    : slots_("chela_device_state_slots",
             "Slots of recurrent state of each device, by use.",
             {{"model", model}}),
      memory_(
          "chela_device_memory_bytes",
          "Memory that the server took on each GPU when it started, by use; "
          "other: working memory, recorded steps, libraries.",
          {{"model", model}}),
      utilization_(
          "chela_device_utilization_ratio",
          "Share of the time since the last scrape in which a step ran "
          "on the device.",
          {{"model", model}}) {}

Metrics::Slots DeviceMetrics::SetSlots(const std::string& device,
                                       const Metrics::Slots& slots) {
  const auto set = [&](const char* state, int32_t count) {
    slots_.Add({{"device", device}, {"state", state}}).Set(count);
  };
  set("free", slots.free);
  set("active", slots.active);
  set("cached", slots.cached);
  Metrics::Slots sum;
  const std::lock_guard lock(mutex_);
  devices_[device].slots = slots;
  for (const auto& [name, of_one] : devices_) {
    sum.free += of_one.slots.free;
    sum.active += of_one.slots.active;
    sum.cached += of_one.slots.cached;
    sum.bytes += of_one.slots.bytes;
  }
  return sum;
}

void DeviceMetrics::SetMemory(const std::string& device,
                              const Metrics::Memory& memory) {
  const auto set = [&](const char* kind, int64_t bytes) {
    memory_.Add({{"device", device}, {"kind", kind}})
        .Set(static_cast<double>(bytes));
  };
  set("weights", memory.weights);
  set("activations", memory.activations);
  set("states", memory.states);
  set("other", memory.other);
}

void DeviceMetrics::AddBusy(const std::string& device, double seconds) {
  const std::lock_guard lock(mutex_);
  devices_[device].busy_seconds += seconds;
}

std::vector<prometheus::MetricFamily> DeviceMetrics::Collect() const {
  {
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    const double seconds =
        std::chrono::duration<double>(now - collected_).count();
    collected_ = now;
    for (auto& [name, device] : devices_) {
      // A step is counted at its end, so that it may be longer than the time.
      utilization_.Add({{"device", name}})
          .Set(seconds > 0 ? std::min(device.busy_seconds / seconds, 1.0) : 0);
      device.busy_seconds = 0;
    }
  }
  std::vector<prometheus::MetricFamily> all;
  for (const Gauges* family : {&slots_, &memory_, &utilization_}) {
    for (prometheus::MetricFamily& one : family->Collect()) {
      all.push_back(std::move(one));
    }
  }
  return all;
}

}  // namespace chela
