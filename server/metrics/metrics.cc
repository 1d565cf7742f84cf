#include "server/metrics/metrics.h"

#include <mutex>
#include <sstream>
#include <vector>

#include "prometheus/text_serializer.h"
#include "server/metrics/metrics_impl.h"

namespace chela {

Metrics::Metrics(const std::string& model)
    : impl_(std::make_unique<Impl>(model)) {}

Metrics::~Metrics() = default;

void Metrics::SetModelInfo(const std::map<std::string, std::string>& labels) {
  impl_->SetInfo(impl_->model_info_family, impl_->model_info, labels);
}

void Metrics::SetBuildInfo(const std::map<std::string, std::string>& labels) {
  impl_->SetInfo(impl_->build_info_family, impl_->build_info, labels);
}

void Metrics::RequestFinished(const std::string& rpc, const std::string& code,
                              double seconds) {
  const auto by_code = impl_->requests.find(rpc);
  if (by_code == impl_->requests.end()) return;
  auto counter = by_code->second.find(code);
  if (counter == by_code->second.end()) {
    counter = by_code->second.find("UNKNOWN");
  }
  counter->second->Increment();
  impl_->durations.Find(rpc)->Observe(seconds);
}

void Metrics::AdmissionRejected(const std::string& reason) {
  metrics::Counter* const counter = impl_->rejections.Find(reason);
  if (counter != nullptr) counter->Increment();
}

void Metrics::SetQueue(int32_t running, int32_t waiting,
                       int64_t queued_tokens) {
  impl_->running.metric.Set(running);
  impl_->waiting.metric.Set(waiting);
  impl_->queued_tokens.metric.Set(static_cast<double>(queued_tokens));
}

void Metrics::SetSlots(const std::string& device, const Slots& slots) {
  // Sums of two calls must not overtake each other.
  const std::lock_guard lock(impl_->slots_mutex);
  const Slots sum = impl_->devices.SetSlots(device, slots);
  impl_->slots_free.Set(sum.free);
  impl_->slots_active.Set(sum.active);
  impl_->slots_cached.Set(sum.cached);
  impl_->state_bytes.metric.Set(static_cast<double>(sum.bytes));
}

void Metrics::SetDeviceMemory(const std::string& device, const Memory& memory) {
  impl_->devices.SetMemory(device, memory);
}

void Metrics::ObserveQueue(double seconds) {
  impl_->queue.metric.Observe(seconds);
}

void Metrics::ObserveTimeToFirstToken(double seconds) {
  impl_->first_token.metric.Observe(seconds);
}

void Metrics::ObserveInterTokenLatency(double seconds) {
  impl_->inter_token.metric.Observe(seconds);
}

void Metrics::ObserveCancelToFree(double seconds) {
  impl_->cancel_to_free.metric.Observe(seconds);
}

void Metrics::AddPromptTokens(int64_t tokens, int64_t cached) {
  impl_->prompt_tokens.metric.Increment(static_cast<double>(tokens));
  impl_->cached_tokens.metric.Increment(static_cast<double>(cached));
}

void Metrics::AddGeneratedTokens(int64_t tokens) {
  impl_->generated_tokens.metric.Increment(static_cast<double>(tokens));
}

void Metrics::AddPrefixCacheTokens(int64_t queries, int64_t hits,
                                   const std::string& tier) {
  impl_->prefix_queries.metric.Increment(static_cast<double>(queries));
  impl_->prefix_hits.metric.Increment(static_cast<double>(hits));
  metrics::Counter* const counter = impl_->prefix_tier_hits.Find(tier);
  if (counter != nullptr) counter->Increment(static_cast<double>(hits));
}

void Metrics::AddPrefixCache(const PrefixCacheChange& change) {
  const auto add = [](auto& metric, int64_t by) {
    metric.metric.Increment(static_cast<double>(by));
  };
  add(impl_->prefix_bytes, change.host_bytes);
  add(impl_->prefix_pinned_bytes, change.pinned_bytes);
  add(impl_->prefix_disk_bytes, change.disk_bytes);
  add(impl_->prefix_evictions, change.evictions);
}

void Metrics::GenerationFinished(const std::string& reason) {
  metrics::Counter* const counter = impl_->finished.Find(reason);
  if (counter != nullptr) counter->Increment();
}

void Metrics::SetSessions(int64_t memory, int64_t store) {
  impl_->sessions_memory.Set(static_cast<double>(memory));
  impl_->sessions_store.Set(static_cast<double>(store));
}

void Metrics::SessionOperation(const std::string& op, const std::string& result,
                               double seconds) {
  const auto results = impl_->session_operations.find(op);
  if (results == impl_->session_operations.end()) return;
  auto counter = results->second.find(result);
  if (counter == results->second.end()) {
    counter = results->second.find("internal");
  }
  counter->second->Increment();
  impl_->session_durations.Find(op)->Observe(seconds);
}

void Metrics::ObserveStep(const std::string& device, const Step& step) {
  impl_->devices.AddBusy(device, step.prefill_seconds + step.decode_seconds);
  impl_->batch_sequences.metric.Observe(step.sequences);
  impl_->batch_tokens.metric.Observe(step.tokens);
  if (step.prefill_seconds > 0) impl_->prefill.Observe(step.prefill_seconds);
  if (step.decode_seconds > 0) impl_->decode.Observe(step.decode_seconds);
  if (step.sample_seconds > 0) impl_->sample.Observe(step.sample_seconds);
}

std::string Metrics::Render() const {
  std::vector<prometheus::MetricFamily> families;
  const auto collect = [&families](const prometheus::Collectable& from) {
    for (prometheus::MetricFamily& family : from.Collect()) {
      families.push_back(std::move(family));
    }
  };
  for (const prometheus::Collectable* family : impl_->page) collect(*family);
  collect(impl_->devices);
  collect(impl_->process);
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return out.str();
}

}  // namespace chela
