// Every metric of the server: names, help, labels and buckets. For metrics.cc
// only.
#ifndef CHELA_SERVER_METRICS_METRICS_IMPL_H_
#define CHELA_SERVER_METRICS_METRICS_IMPL_H_

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "server/metrics/device_metrics.h"
#include "server/metrics/metrics.h"
#include "server/metrics/process_metrics.h"

namespace chela {
namespace metrics {

using Buckets = prometheus::Histogram::BucketBoundaries;
using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Labels;
using prometheus::MetricFamily;

inline constexpr const char* kRpcs[] = {
    "generate",       "generate_stream", "score",          "score_stream",
    "tokenize",       "detokenize",      "get_model_info", "get_load",
    "create_session", "fork_session",    "rewind_session", "delete_session",
    "list_sessions",  "export_session",  "import_session"};
inline constexpr const char* kCodes[] = {"OK",
                                         "CANCELLED",
                                         "UNKNOWN",
                                         "INVALID_ARGUMENT",
                                         "DEADLINE_EXCEEDED",
                                         "NOT_FOUND",
                                         "ALREADY_EXISTS",
                                         "PERMISSION_DENIED",
                                         "RESOURCE_EXHAUSTED",
                                         "FAILED_PRECONDITION",
                                         "ABORTED",
                                         "OUT_OF_RANGE",
                                         "UNIMPLEMENTED",
                                         "INTERNAL",
                                         "UNAVAILABLE",
                                         "DATA_LOSS",
                                         "UNAUTHENTICATED"};
inline constexpr const char* kRejections[] = {"queue_full", "draining",
                                              "deadline", "invalid", "no_slot"};
inline constexpr const char* kSessionOps[] = {
    "create", "turn", "fork", "rewind", "delete", "list", "export", "import"};
inline constexpr const char* kSessionResults[] = {
    "ok",        "not_found",        "aborted",        "failed_precondition",
    "data_loss", "invalid_argument", "already_exists", "resource_exhausted",
    "internal",  "unavailable"};
inline constexpr const char* kCacheTiers[] = {"device", "host", "disk"};
inline constexpr const char* kFinishReasons[] = {
    "stop", "length", "eos", "cancelled", "deadline", "error"};

inline Buckets FirstTokenSeconds() {
  return {.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30};
}
inline Buckets InterTokenSeconds() {
  return {.0001, .00025, .0005, .001, .002, .003, .005, .0075,
          .01,   .02,    .05,   .1,   .25,  .5,   1};
}
inline Buckets RequestSeconds() {
  return {.0005, .001, .0025, .005, .01, .025, .05, .1, .25,
          .5,    1,    2.5,   5,    10,  30,   60,  300};
}
inline Buckets QueueSeconds() {
  return {.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05,
          .1,    .25,    .5,    1,    2.5,   5,    10,  30};
}
inline Buckets StepSeconds() {
  return {.00005, .0001, .00025, .0005, .001, .0025, .005, .01,
          .025,   .05,   .1,     .25,   .5,   1,     2.5};
}
inline Buckets SessionSeconds() {
  return {.00001, .00005, .0001, .0005, .001, .0025, .005, .01,
          .025,   .05,    .1,    .25,   .5,   1,     2.5,  10};
}
inline Buckets PowersOfTwo() {
  return {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048};
}

}  // namespace metrics

// Families in the order of the page, and handles that point into them.
struct Metrics::Impl {
  template <typename T>
  struct Family : prometheus::Family<T> {
    Family(Impl& impl, const char* name, const char* help)
        : prometheus::Family<T>(name, help, {{"model", impl.model}}) {
      impl.page.push_back(this);
    }
  };
  template <typename T>
  struct Single {
    template <typename... Args>
    Single(Impl& impl, const char* name, const char* help, const Args&... args)
        : family(impl, name, help), metric(family.Add({}, args...)) {}
    Family<T> family;
    T& metric;
  };
  // One series for each value of one closed label.
  template <typename T>
  struct Labelled {
    template <size_t kCount, typename... Args>
    Labelled(Family<T>& family, const char* label,
             const char* const (&values)[kCount], const Args&... args) {
      for (const char* value : values) {
        by_value[value] = &family.Add({{label, value}}, args...);
      }
    }
    // Null for a value outside the closed set.
    T* Find(const std::string& value) const {
      const auto found = by_value.find(value);
      return found == by_value.end() ? nullptr : found->second;
    }
    std::map<std::string, T*> by_value;
  };

  explicit Impl(const std::string& model_name) : model(model_name) {
    for (const char* rpc : metrics::kRpcs) {
      for (const char* code : metrics::kCodes) {
        requests[rpc][code] =
            &requests_family.Add({{"rpc", rpc}, {"code", code}});
      }
    }
    for (const char* op : metrics::kSessionOps) {
      for (const char* result : metrics::kSessionResults) {
        session_operations[op][result] =
            &session_operations_family.Add({{"op", op}, {"result", result}});
      }
    }
  }

  std::string model;
  std::vector<const prometheus::Collectable*> page;

  Family<metrics::Counter> requests_family{*this, "chela_requests_total",
                                           "RPCs that ended, by gRPC status."};
  std::map<std::string, std::map<std::string, metrics::Counter*>> requests;
  Family<metrics::Histogram> durations_family{
      *this, "chela_request_duration_seconds",
      "Time from the arrival of an RPC to its end."};
  Labelled<metrics::Histogram> durations{
      durations_family, "rpc", metrics::kRpcs, metrics::RequestSeconds()};
  Family<metrics::Counter> rejections_family{
      *this, "chela_admission_rejections_total",
      "Requests that were refused unread."};
  Labelled<metrics::Counter> rejections{rejections_family, "reason",
                                        metrics::kRejections};
  Single<metrics::Gauge> running{*this, "chela_requests_running",
                                 "Requests that hold a state slot."};
  Single<metrics::Gauge> waiting{*this, "chela_requests_waiting",
                                 "Requests that wait for a state slot."};
  Single<metrics::Gauge> queued_tokens{
      *this, "chela_queued_tokens", "Prompt tokens of the waiting requests."};
  Single<metrics::Histogram> queue{*this, "chela_queue_duration_seconds",
                                   "Time from submission to a state slot.",
                                   metrics::QueueSeconds()};
  Single<metrics::Histogram> first_token{
      *this, "chela_time_to_first_token_seconds",
      "Time from submission to the first generated token.",
      metrics::FirstTokenSeconds()};
  Single<metrics::Histogram> inter_token{
      *this, "chela_inter_token_latency_seconds",
      "Time between consecutive generated tokens of one request.",
      metrics::InterTokenSeconds()};
  Single<metrics::Counter> prompt_tokens{*this, "chela_prompt_tokens_total",
                                         "Prompt and scored tokens."};
  Single<metrics::Counter> cached_tokens{
      *this, "chela_cached_prompt_tokens_total",
      "Prompt tokens whose state was kept from "
      "before."};
  Single<metrics::Counter> generated_tokens{
      *this, "chela_generated_tokens_total", "Tokens sampled, EOS included."};
  Single<metrics::Counter> prefix_queries{
      *this, "chela_prefix_cache_queries_total",
      "Prompt tokens for which the prefix cache was "
      "asked."};
  Single<metrics::Counter> prefix_hits{
      *this, "chela_prefix_cache_hits_total",
      "Prompt tokens that the prefix cache spared."};
  Family<metrics::Counter> prefix_tier_hits_family{
      *this, "chela_prefix_cache_tier_hits_total",
      "The same, by where the state was: in a slot, on the host, on the disk."};
  Labelled<metrics::Counter> prefix_tier_hits{prefix_tier_hits_family, "tier",
                                              metrics::kCacheTiers};
  Single<metrics::Counter> prefix_evictions{
      *this, "chela_prefix_cache_evictions_total",
      "States that the prefix cache dropped."};
  Single<metrics::Gauge> prefix_bytes{
      *this, "chela_prefix_cache_bytes",
      "Host memory of the prefix cache: states and "
      "tokens."};
  Single<metrics::Gauge> prefix_pinned_bytes{
      *this, "chela_prefix_cache_pinned_bytes",
      "Of them, those of states that requests have pinned."};
  Single<metrics::Gauge> prefix_disk_bytes{
      *this, "chela_prefix_cache_disk_bytes",
      "Files of the prefix cache, those that are being written with their "
      "largest size."};
  Family<metrics::Counter> finished_family{
      *this, "chela_finished_total", "Generations that ended, by reason."};
  Labelled<metrics::Counter> finished{finished_family, "reason",
                                      metrics::kFinishReasons};
  Single<metrics::Histogram> batch_sequences{
      *this, "chela_batch_sequences",
      "Sequences that took part in an engine "
      "step.",
      metrics::PowersOfTwo()};
  Single<metrics::Histogram> batch_tokens{
      *this, "chela_batch_tokens",
      "Tokens that an engine step fed to the model.", metrics::PowersOfTwo()};
  Family<metrics::Histogram> steps_family{
      *this, "chela_step_duration_seconds",
      "Duration of an engine step's forward pass (prefill if it held a prompt "
      "chunk, else decode) and of sampling."};
  metrics::Histogram& prefill{
      steps_family.Add({{"phase", "prefill"}}, metrics::StepSeconds())};
  metrics::Histogram& decode{
      steps_family.Add({{"phase", "decode"}}, metrics::StepSeconds())};
  metrics::Histogram& sample{
      steps_family.Add({{"phase", "sample"}}, metrics::StepSeconds())};
  Family<metrics::Gauge> slots_family{*this, "chela_state_slots",
                                      "Slots of recurrent state, by use."};
  metrics::Gauge& slots_free{slots_family.Add({{"state", "free"}})};
  metrics::Gauge& slots_active{slots_family.Add({{"state", "active"}})};
  metrics::Gauge& slots_cached{slots_family.Add({{"state", "cached"}})};
  Single<metrics::Gauge> state_bytes{*this, "chela_state_bytes",
                                     "Memory of all state slots together."};
  Single<metrics::Histogram> cancel_to_free{
      *this, "chela_cancel_to_free_seconds",
      "Time from a cancel to the release of its state slot.",
      metrics::InterTokenSeconds()};

  Family<metrics::Gauge> sessions_family{
      *this, "chela_sessions",
      "Sessions, by where their newest state is: in memory, or only in the "
      "store."};
  metrics::Gauge& sessions_memory{sessions_family.Add({{"tier", "memory"}})};
  metrics::Gauge& sessions_store{sessions_family.Add({{"tier", "store"}})};
  Family<metrics::Counter> session_operations_family{
      *this, "chela_session_operations_total",
      "Operations on sessions, by result."};
  std::map<std::string, std::map<std::string, metrics::Counter*>>
      session_operations;
  Family<metrics::Histogram> session_durations_family{
      *this, "chela_session_operation_duration_seconds",
      "Duration of an operation on a session; of a turn, its begin and its end "
      "without the generation."};
  Labelled<metrics::Histogram> session_durations{session_durations_family, "op",
                                                 metrics::kSessionOps,
                                                 metrics::SessionSeconds()};

  // An info metric is replaced as a whole when it is set again.
  void SetInfo(Family<metrics::Gauge>& family, metrics::Gauge*& current,
               const std::map<std::string, std::string>& labels) {
    const std::lock_guard lock(info_mutex);
    if (current != nullptr) family.Remove(current);
    current = &family.Add(metrics::Labels(labels.begin(), labels.end()));
    current->Set(1);
  }
  std::mutex info_mutex;
  Family<metrics::Gauge> model_info_family{
      *this, "chela_model_info", "Always 1; the labels describe the model."};
  metrics::Gauge* model_info = nullptr;
  Family<metrics::Gauge> build_info_family{
      *this, "chela_build_info", "Always 1; the labels describe the build."};
  metrics::Gauge* build_info = nullptr;
  std::mutex slots_mutex;
  DeviceMetrics devices{model};
  ProcessMetrics process;
};

}  // namespace chela

#endif  // CHELA_SERVER_METRICS_METRICS_IMPL_H_
