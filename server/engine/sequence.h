#ifndef CHELA_SERVER_ENGINE_SEQUENCE_H_
#define CHELA_SERVER_ENGINE_SEQUENCE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "models/chela_model.h"
#include "models/state_pool.h"
#include "server/engine/request.h"
#include "server/engine/scheduler.h"
#include "server/engine/step_output.h"
#include "server/metrics/metrics.h"

namespace chela {

class PrefixCache;

// What a device lends to the sequences that run on it.
struct Place {
  ChelaModel& model;
  StatePool& pool;
  PrefixCache& prefixes;
};

// One request inside the engine, from Submit to the end of its stream: what it
// wants to run next and what becomes of the logits. The engine decides when.
//
// Life: made by Submit; Ready until it is; then Admit; then any number of
// NextWork, AppendTo and Deliver; End at any point, by itself or by the engine;
// Close last.
//
// Threads: made on any thread, then the queue's, then owned by that of the
// device that runs it.
class Sequence {
 public:
  Sequence(RequestHeader header, Metrics& metrics)
      : header_(std::move(header)),
        metrics_(metrics),
        submitted_(Clock::now()) {}
  virtual ~Sequence() = default;
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  const RequestHeader& header() const { return header_; }

  // Slots it is admitted with, of a pool of `pool_slots`.
  virtual int32_t slots(int32_t pool_slots) const;
  virtual int64_t queued_tokens() const = 0;  // to read, as far as known
  virtual bool cancelled() const = 0;
  // Of the first chunk of a prompt whose state may be kept for others
  // (PrefixCache); 0: none.
  virtual uint64_t beginning_hash() const { return 0; }

  // Whether it may be admitted to the device that has this cache; asked when
  // slots there are free for it, always of the same device. Not while a store
  // is being read for it: then until waits_until() at the latest.
  virtual bool Ready(PrefixCache& /*prefixes*/, Clock::time_point /*now*/) {
    return true;
  }
  virtual std::optional<Clock::time_point> waits_until() const { return {}; }
  // Claims its slots, which are free, once it is Ready. May End it, if there is
  // nothing to run.
  absl::Status Admit(const Place& place);
  // What it would do next: the same until it did it. May End it.
  virtual Work NextWork() = 0;
  // Adds the work that NextWork named: segments, and the rows whose logits it
  // needs or whose tokens the backend may draw.
  virtual void AppendTo(StepPlan& plan) = 0;
  // The forward pass was run; `output`: of the rows asked for. An error is a
  // device fault.
  virtual absl::Status Deliver(const SequenceOutput& output) = 0;

  // Gives the slots back. Later calls are without effect.
  void End(FinishReason reason, absl::Status status);
  bool ended() const { return ended_; }
  // Tells the stream; exactly once, after End.
  virtual void Close() = 0;

 protected:
  enum class LogitsOf { kNone, kLastRow, kAllRows };
  // Without draws: the logits come to the host.
  static void AddSegment(StepPlan& plan, const StatePool::Slot& slot,
                         int64_t position, std::span<const int32_t> tokens,
                         LogitsOf logits);

  virtual absl::Status OnAdmit(const Place& place) = 0;  // slot_ is claimed
  virtual void OnEnd() = 0;  // reason_ and status_ are set
  virtual Clock::time_point cancelled_at() const = 0;

  // Durations up to the end, as far as they were reached.
  double queue_seconds() const;
  double running_seconds() const;  // from the admission to the end

  const RequestHeader header_;
  Metrics& metrics_;
  const Clock::time_point submitted_;
  Clock::time_point admitted_at_;
  Clock::time_point ended_at_;
  bool admitted_ = false;
  StatePool::Slot slot_;
  FinishReason reason_ = FinishReason::kError;
  absl::Status status_;

 private:
  bool ended_ = false;
};

inline double SecondsBetween(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_SEQUENCE_H_
