#ifndef CHELA_SERVER_ENGINE_ENGINE_H_
#define CHELA_SERVER_ENGINE_ENGINE_H_

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "models/chela_model.h"
#include "models/state_pool.h"
#include "models/tokenizer.h"
#include "server/engine/prefix_store.h"
#include "server/engine/request.h"
#include "server/metrics/metrics.h"

namespace chela {

struct EngineLimits {
  int32_t max_batch_tokens = 512;  // rows of one step; >= kChunkTokens
  int32_t max_waiting = 1024;      // requests beyond the free slots; more are
                                   // refused
  int64_t max_prompt_tokens = 1048576;
  int32_t max_output_tokens = 65536;
  int64_t prefix_cache_bytes = 0;  // on the host (prefix_cache.h), of all
                                   // devices together; 0: off
  int64_t prefix_store_bytes = 0;  // in EngineDevice::prefix_store, likewise
  // Of prefix_cache_bytes, what requests may pin; at most half of it.
  int64_t prefix_pinned_bytes = std::numeric_limits<int64_t>::max();
};

// A device that an engine serves from: a whole copy of the model.
struct EngineDevice {
  std::string name;  // BackendInfo::name: of metrics and errors
  ChelaModel& model;
  StatePool& pool;
  // Where its prefix cache keeps more; null: nowhere. Its own, and its thread's
  // while the engine lives.
  PrefixStore* prefix_store = nullptr;
};

// A snapshot of what the engine is doing, on all devices together.
struct EngineLoad {
  int32_t running = 0;  // sequences that hold a slot
  int32_t waiting = 0;
  int64_t queued_tokens = 0;  // prompt tokens of the waiting
  int32_t slots_total = 0;
  int32_t slots_free = 0;  // those of the prefix cache included
  int64_t slot_bytes = 0;
  bool draining = false;
  bool healthy = true;  // false after a device fault
};

// Continuous batching over state slots: for each device one thread that admits,
// plans, runs, samples and delivers. Every step takes one token of each
// decoding sequence and whole chunks of prompts within the token budget
// (scheduler.h). A request gives the same tokens whatever runs beside it, and
// on whichever of equal devices. All devices serve one queue
// (admission_queue.h), and fail together: a device that is lost ends the
// engine, so that a supervisor restarts it whole.
//
// Threads: thread-safe. Submit, Load and Drain never block on the engine's
// work; WaitIdle and Stop wait for it and must not be called from a stream's
// callback or on_fault.
class Engine {
 public:
  // devices: at least one, all with the same checkpoint and as many slots.
  // Everything borrowed must outlive the engine; models and pools belong to its
  // threads from here on. A step has at most min(limits.max_batch_tokens,
  // model.max_rows()) rows, but never less than one chunk: model.max_rows()
  // must be kChunkTokens or more. From slots + kChunkTokens rows on, a prompt's
  // chunk never makes a decoding sequence miss a step. on_fault runs once, on
  // the thread of the device that failed first: what waited and that device's
  // streams have been closed with UNAVAILABLE, those of others are at their
  // next turn.
  static std::unique_ptr<Engine> Start(
      const EngineLimits& limits, const std::vector<EngineDevice>& devices,
      const Tokenizer& tokenizer, Metrics& metrics,
      std::function<void(const absl::Status&)> on_fault);
  virtual ~Engine() = default;  // Stop()s

  // INVALID_ARGUMENT for a request outside the limits, RESOURCE_EXHAUSTED if
  // the queue is full, UNAVAILABLE while draining or after a fault,
  // DEADLINE_EXCEEDED if the deadline has passed. If not OK, the refusal was
  // counted in the metrics and the engine never touches the stream again.
  [[nodiscard]] virtual absl::Status Submit(GenerateJob job) = 0;
  [[nodiscard]] virtual absl::Status Submit(ScoreJob job) = 0;

  virtual EngineLoad Load() const = 0;

  // From now on Submit refuses with UNAVAILABLE; what runs or waits goes on.
  virtual void Drain() = 0;
  // True once nothing runs or waits, or false at `deadline`.
  virtual bool WaitIdle(Clock::time_point deadline) = 0;
  // Closes what is left with UNAVAILABLE, gives the prefix caches some seconds
  // to store their states and joins the threads. Idempotent.
  virtual void Stop() = 0;
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_ENGINE_H_
