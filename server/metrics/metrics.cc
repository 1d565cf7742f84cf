#include "server/metrics/metrics.h"

#include <mutex>
#include <sstream>
#include <vector>

#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/text_serializer.h"
#include "server/metrics/process_metrics.h"

namespace chela {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;
using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Labels;
using prometheus::MetricFamily;

constexpr const char* kRpcs[] = {
    "generate",       "generate_stream", "score",          "score_stream",
    "tokenize",       "detokenize",      "get_model_info", "get_load",
    "create_session", "fork_session",    "rewind_session", "delete_session",
    "list_sessions",  "export_session",  "import_session"};
constexpr const char* kCodes[] = {"OK",
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
constexpr const char* kRejections[] = {"queue_full", "draining", "deadline",
                                       "invalid", "no_slot"};
constexpr const char* kSessionOps[] = {"create", "turn", "fork",   "rewind",
                                       "delete", "list", "export", "import"};
constexpr const char* kSessionResults[] = {
    "ok",        "not_found",        "aborted",        "failed_precondition",
    "data_loss", "invalid_argument", "already_exists", "resource_exhausted",
    "internal",  "unavailable"};
constexpr const char* kFinishReasons[] = {"stop",      "length",   "eos",
                                          "cancelled", "deadline", "error"};

Buckets FirstTokenSeconds() {
  return {.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30};
}
Buckets InterTokenSeconds() {
  return {.0001, .00025, .0005, .001, .002, .003, .005, .0075,
          .01,   .02,    .05,   .1,   .25,  .5,   1};
}
Buckets RequestSeconds() {
  return {.0005, .001, .0025, .005, .01, .025, .05, .1, .25,
          .5,    1,    2.5,   5,    10,  30,   60,  300};
}
Buckets QueueSeconds() {
  return {.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05,
          .1,    .25,    .5,    1,    2.5,   5,    10,  30};
}
Buckets StepSeconds() {
  return {.00005, .0001, .00025, .0005, .001, .0025, .005, .01,
          .025,   .05,   .1,     .25,   .5,   1,     2.5};
}
Buckets SessionSeconds() {
  return {.00001, .00005, .0001, .0005, .001, .0025, .005, .01,
          .025,   .05,    .1,    .25,   .5,   1,     2.5,  10};
}
Buckets PowersOfTwo() {
  return {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048};
}

}  // namespace

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
        metrics[value] = &family.Add({{label, value}}, args...);
      }
    }
    // Null for a value outside the closed set.
    T* Find(const std::string& value) const {
      const auto found = metrics.find(value);
      return found == metrics.end() ? nullptr : found->second;
    }
    std::map<std::string, T*> metrics;
  };

  explicit Impl(const std::string& model_name) : model(model_name) {
    for (const char* rpc : kRpcs) {
      for (const char* code : kCodes) {
        requests[rpc][code] =
            &requests_family.Add({{"rpc", rpc}, {"code", code}});
      }
    }
    for (const char* op : kSessionOps) {
      for (const char* result : kSessionResults) {
        session_operations[op][result] =
            &session_operations_family.Add({{"op", op}, {"result", result}});
      }
    }
  }

  std::string model;
  std::vector<const prometheus::Collectable*> page;

  Family<Counter> requests_family{*this, "chela_requests_total",
                                  "RPCs that ended, by gRPC status."};
  std::map<std::string, std::map<std::string, Counter*>> requests;
  Family<Histogram> durations_family{
      *this, "chela_request_duration_seconds",
      "Time from the arrival of an RPC to its end."};
  Labelled<Histogram> durations{durations_family, "rpc", kRpcs,
                                RequestSeconds()};
  Family<Counter> rejections_family{*this, "chela_admission_rejections_total",
                                    "Requests that were refused unread."};
  Labelled<Counter> rejections{rejections_family, "reason", kRejections};
  Single<Gauge> running{*this, "chela_requests_running",
                        "Requests that hold a state slot."};
  Single<Gauge> waiting{*this, "chela_requests_waiting",
                        "Requests that wait for a state slot."};
  Single<Gauge> queued_tokens{*this, "chela_queued_tokens",
                              "Prompt tokens of the waiting requests."};
  Single<Histogram> queue{*this, "chela_queue_duration_seconds",
                          "Time from submission to a state slot.",
                          QueueSeconds()};
  Single<Histogram> first_token{
      *this, "chela_time_to_first_token_seconds",
      "Time from submission to the first generated token.",
      FirstTokenSeconds()};
  Single<Histogram> inter_token{
      *this, "chela_inter_token_latency_seconds",
      "Time between consecutive generated tokens of one request.",
      InterTokenSeconds()};
  Single<Counter> prompt_tokens{*this, "chela_prompt_tokens_total",
                                "Prompt and scored tokens."};
  Single<Counter> cached_tokens{*this, "chela_cached_prompt_tokens_total",
                                "Prompt tokens whose state was kept from "
                                "before."};
  Single<Counter> generated_tokens{*this, "chela_generated_tokens_total",
                                   "Tokens sampled, EOS included."};
  Single<Counter> prefix_queries{*this, "chela_prefix_cache_queries_total",
                                 "Prompt tokens for which the prefix cache was "
                                 "asked."};
  Single<Counter> prefix_hits{*this, "chela_prefix_cache_hits_total",
                              "Prompt tokens that the prefix cache spared."};
  Single<Counter> prefix_evictions{*this, "chela_prefix_cache_evictions_total",
                                   "States that the prefix cache dropped."};
  Single<Gauge> prefix_bytes{*this, "chela_prefix_cache_bytes",
                             "Host memory of the prefix cache: states and "
                             "tokens."};
  Family<Counter> finished_family{*this, "chela_finished_total",
                                  "Generations that ended, by reason."};
  Labelled<Counter> finished{finished_family, "reason", kFinishReasons};
  Single<Histogram> batch_sequences{*this, "chela_batch_sequences",
                                    "Sequences that took part in an engine "
                                    "step.",
                                    PowersOfTwo()};
  Single<Histogram> batch_tokens{*this, "chela_batch_tokens",
                                 "Tokens that an engine step fed to the model.",
                                 PowersOfTwo()};
  Family<Histogram> steps_family{
      *this, "chela_step_duration_seconds",
      "Duration of an engine step's forward pass (prefill if it held a prompt "
      "chunk, else decode) and of sampling."};
  Histogram& prefill{steps_family.Add({{"phase", "prefill"}}, StepSeconds())};
  Histogram& decode{steps_family.Add({{"phase", "decode"}}, StepSeconds())};
  Histogram& sample{steps_family.Add({{"phase", "sample"}}, StepSeconds())};
  Family<Gauge> slots_family{*this, "chela_state_slots",
                             "Slots of recurrent state, by use."};
  Gauge& slots_free{slots_family.Add({{"state", "free"}})};
  Gauge& slots_active{slots_family.Add({{"state", "active"}})};
  Gauge& slots_cached{slots_family.Add({{"state", "cached"}})};
  Single<Gauge> state_bytes{*this, "chela_state_bytes",
                            "Memory of all state slots together."};
  Single<Histogram> cancel_to_free{
      *this, "chela_cancel_to_free_seconds",
      "Time from a cancel to the release of its state slot.",
      InterTokenSeconds()};

  Family<Gauge> sessions_family{
      *this, "chela_sessions",
      "Sessions, by where their newest state is: in memory, or only in the "
      "store."};
  Gauge& sessions_memory{sessions_family.Add({{"tier", "memory"}})};
  Gauge& sessions_store{sessions_family.Add({{"tier", "store"}})};
  Family<Counter> session_operations_family{
      *this, "chela_session_operations_total",
      "Operations on sessions, by result."};
  std::map<std::string, std::map<std::string, Counter*>> session_operations;
  Family<Histogram> session_durations_family{
      *this, "chela_session_operation_duration_seconds",
      "Duration of an operation on a session; of a turn, its begin and its end "
      "without the generation."};
  Labelled<Histogram> session_durations{session_durations_family, "op",
                                        kSessionOps, SessionSeconds()};

  // An info metric is replaced as a whole when it is set again.
  void SetInfo(Family<Gauge>& family, Gauge*& current,
               const std::map<std::string, std::string>& labels) {
    const std::lock_guard lock(info_mutex);
    if (current != nullptr) family.Remove(current);
    current = &family.Add(Labels(labels.begin(), labels.end()));
    current->Set(1);
  }
  std::mutex info_mutex;
  Family<Gauge> model_info_family{*this, "chela_model_info",
                                  "Always 1; the labels describe the model."};
  Gauge* model_info = nullptr;
  Family<Gauge> build_info_family{*this, "chela_build_info",
                                  "Always 1; the labels describe the build."};
  Gauge* build_info = nullptr;
  ProcessMetrics process;
};

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
  Counter* const counter = impl_->rejections.Find(reason);
  if (counter != nullptr) counter->Increment();
}

void Metrics::SetQueue(int32_t running, int32_t waiting,
                       int64_t queued_tokens) {
  impl_->running.metric.Set(running);
  impl_->waiting.metric.Set(waiting);
  impl_->queued_tokens.metric.Set(static_cast<double>(queued_tokens));
}

void Metrics::SetSlots(int32_t free, int32_t active, int32_t cached,
                       int64_t state_bytes) {
  impl_->slots_free.Set(free);
  impl_->slots_active.Set(active);
  impl_->slots_cached.Set(cached);
  impl_->state_bytes.metric.Set(static_cast<double>(state_bytes));
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

void Metrics::AddPrefixCacheTokens(int64_t queries, int64_t hits) {
  impl_->prefix_queries.metric.Increment(static_cast<double>(queries));
  impl_->prefix_hits.metric.Increment(static_cast<double>(hits));
}

void Metrics::SetPrefixCache(int64_t host_bytes, int64_t evictions) {
  impl_->prefix_bytes.metric.Set(static_cast<double>(host_bytes));
  impl_->prefix_evictions.metric.Increment(static_cast<double>(evictions));
}

void Metrics::GenerationFinished(const std::string& reason) {
  Counter* const counter = impl_->finished.Find(reason);
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

void Metrics::ObserveStep(const Step& step) {
  impl_->batch_sequences.metric.Observe(step.sequences);
  impl_->batch_tokens.metric.Observe(step.tokens);
  if (step.prefill_seconds > 0) impl_->prefill.Observe(step.prefill_seconds);
  if (step.decode_seconds > 0) impl_->decode.Observe(step.decode_seconds);
  if (step.sample_seconds > 0) impl_->sample.Observe(step.sample_seconds);
}

std::string Metrics::Render() const {
  std::vector<MetricFamily> families;
  const auto collect = [&families](const prometheus::Collectable& from) {
    for (MetricFamily& family : from.Collect()) {
      families.push_back(std::move(family));
    }
  };
  for (const prometheus::Collectable* family : impl_->page) collect(*family);
  collect(impl_->process);
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return out.str();
}

}  // namespace chela
