#ifndef CHELA_SERVER_ENGINE_REPLICA_H_
#define CHELA_SERVER_ENGINE_REPLICA_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "server/engine/admission_queue.h"
#include "server/engine/engine.h"
#include "server/engine/prefix_cache.h"
#include "server/engine/scheduler.h"
#include "server/engine/sequence.h"
#include "server/engine/step_output.h"

namespace chela {

// One device of an engine: its model, its slots, its prefix cache, and the
// thread that runs them. What it shares with others is the queue; everything
// else belongs to its thread (replica.cc, replica_step.cc).
//
// A turn: end what is cancelled or overdue; admit what the queue has assigned;
// plan and run one step; free slots and report the counts, and only then close
// streams, so that a client that got its end finds its slot free. Without work
// it sleeps until the next deadline or a notification.
class Replica {
 public:
  // index: its place in the queue. Everything borrowed must outlive it.
  // on_fault: as Engine::Start.
  Replica(int32_t index, const EngineDevice& device, const EngineLimits& limits,
          AdmissionQueue& queue, Metrics& metrics,
          std::function<void(const absl::Status&)> on_fault);
  // The queue is closed by then.
  ~Replica() { Join(); }
  Replica(const Replica&) = delete;

  // Waits for the end of its thread. One thread at a time.
  void Join();

 private:
  struct Running {
    std::unique_ptr<Sequence> sequence;
    int64_t arrival = 0;
    int64_t last_step = -1;
  };
  void Loop();
  void EndCancelledAndOverdue();
  absl::Status AdmitAssigned();
  int32_t SlotsOf(const AdmissionQueue::Entry& entry) const;
  std::vector<int32_t> PlanNextStep();
  absl::Status RunStep(const std::vector<int32_t>& planned);
  absl::Status DeliverStep(const std::vector<int32_t>& planned);
  void EndAll(const absl::Status& status);
  bool CloseEnded();  // whether there were any
  void Adopt(std::vector<AdmissionQueue::Entry> entries);
  void Report();
  bool SlotsChanged() const;  // since they were reported
  void Fault(const absl::Status& status);
  std::optional<Clock::time_point> NextDeadline() const;

  const int32_t index_;
  const std::string name_;
  ChelaModel& model_;
  StatePool& pool_;
  AdmissionQueue& queue_;
  Metrics& metrics_;
  const std::function<void(const absl::Status&)> on_fault_;
  const int32_t max_rows_;

  // Assigned, but a store is being read for them: their slots stay free.
  std::vector<AdmissionQueue::Entry> not_ready_;
  std::vector<Running> running_;
  int64_t steps_ = 0;
  bool after_chunk_ = false;
  int32_t reported_free_ = -1;
  int32_t reported_cached_ = -1;
  PrefixCache prefixes_;
  StepPlan plan_;
  StepOutput output_;
  std::vector<size_t> logits_rows_of_;  // of each planned sequence

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_REPLICA_H_
