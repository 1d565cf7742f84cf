#ifndef CHELA_SERVER_METRICS_METRICS_H_
#define CHELA_SERVER_METRICS_METRICS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace chela {

// Every metric of the server: name, help, labels and buckets stand in
// metrics_impl.h and device_metrics.cc and nowhere else. All series of closed
// labels exist at zero from the start. Label values are lower_snake_case,
// except `code`, the gRPC name.
//
// Threads: thread-safe.
class Metrics {
 public:
  // `model` is the label of every chela_* metric.
  explicit Metrics(const std::string& model);
  ~Metrics();
  Metrics(const Metrics&) = delete;

  // Gauges of value 1 whose labels carry the facts.
  void SetModelInfo(const std::map<std::string, std::string>& labels);
  void SetBuildInfo(const std::map<std::string, std::string>& labels);

  // An RPC ended. rpc: "generate_stream" ...; code: a gRPC status name.
  void RequestFinished(const std::string& rpc, const std::string& code,
                       double seconds);
  // Submit or the RPC layer refused: "queue_full", "draining", "deadline",
  // "invalid", "no_slot".
  void AdmissionRejected(const std::string& reason);

  // Engine gauges, set when they change: of all devices together ...
  void SetQueue(int32_t running, int32_t waiting, int64_t queued_tokens);
  // ... and of one, which also sets the sums over all of them.
  struct Slots {
    int32_t free = 0;
    int32_t active = 0;
    int32_t cached = 0;
    int64_t bytes = 0;  // of all slots
  };
  void SetSlots(const std::string& device, const Slots& slots);
  // What the server took of a GPU's memory, in bytes.
  struct Memory {
    int64_t weights = 0;
    int64_t activations = 0;
    int64_t states = 0;
    int64_t other = 0;
  };
  void SetDeviceMemory(const std::string& device, const Memory& memory);

  void ObserveQueue(double seconds);
  void ObserveTimeToFirstToken(double seconds);
  void ObserveInterTokenLatency(double seconds);
  void ObserveCancelToFree(double seconds);
  void AddPromptTokens(int64_t tokens, int64_t cached);
  void AddGeneratedTokens(int64_t tokens);
  // A prompt was looked up; `hits` of its tokens need not be read, since their
  // state was in `tier`: "device", "host", "disk", or "none".
  void AddPrefixCacheTokens(int64_t queries, int64_t hits,
                            const std::string& tier);
  // What changed since the last call.
  struct PrefixCacheChange {
    int64_t host_bytes = 0;
    int64_t pinned_bytes = 0;  // of them
    int64_t disk_bytes = 0;
    int64_t evictions = 0;  // states that were dropped
  };
  void AddPrefixCache(const PrefixCacheChange& change);
  // reason: "stop", "length", "eos", "cancelled", "deadline", "error".
  void GenerationFinished(const std::string& reason);

  // Sessions whose newest state is in memory, and those that only the store
  // has.
  void SetSessions(int64_t memory, int64_t store);
  // op: "create", "turn", "fork", "rewind", "delete", "list", "export",
  // "import"; result: "ok" or a status in lower case. Of a turn: the time that
  // the session took before and after the generation.
  void SessionOperation(const std::string& op, const std::string& result,
                        double seconds);

  // One engine step; phase seconds are 0 if a phase did not run.
  struct Step {
    int32_t sequences = 0;
    int32_t tokens = 0;
    double prefill_seconds = 0;
    double decode_seconds = 0;
    double sample_seconds = 0;
  };
  void ObserveStep(const std::string& device, const Step& step);

  // The page in Prometheus' text format, process_* included.
  std::string Render() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace chela

#endif  // CHELA_SERVER_METRICS_METRICS_H_
