#ifndef CHELA_SERVER_ENGINE_ENGINE_IMPL_H_
#define CHELA_SERVER_ENGINE_ENGINE_IMPL_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "models/candidates.h"
#include "server/engine/engine.h"
#include "server/engine/prefix_cache.h"
#include "server/engine/scheduler.h"
#include "server/engine/sequence.h"
#include "server/engine/step_output.h"
#include "server/engine/wake_signal.h"

namespace chela {

// The engine proper. What several threads touch stands under mutex_, a leaf
// lock (engine.cc); everything else belongs to the engine's thread
// (engine_loop.cc, engine_step.cc).
//
// A turn: take the inbox; end what is cancelled or overdue; admit; plan and run
// one step; free slots and publish the counts, and only then close streams, so
// that a client that got its end finds its slot free. Without work it sleeps
// until the next deadline or a notification.
class EngineImpl final : public Engine {
 public:
  EngineImpl(const EngineLimits& limits, ChelaModel& model, StatePool& pool,
             const Tokenizer& tokenizer, Metrics& metrics,
             std::function<void(const absl::Status&)> on_fault);
  ~EngineImpl() override;

  absl::Status Submit(GenerateJob job) override;
  absl::Status Submit(ScoreJob job) override;
  EngineLoad Load() const override;
  void Drain() override;
  bool WaitIdle(Clock::time_point deadline) override;
  void Stop() override;

 private:
  struct Entry {
    std::unique_ptr<Sequence> sequence;
    int64_t arrival = 0;
    int64_t last_step = -1;
  };
  // What the engine's thread last told the others.
  struct Counts {
    int32_t running = 0;
    int32_t waiting = 0;  // taken from the inbox, without a slot
    int64_t queued_tokens = 0;
    int32_t slots_free = 0;  // for admission: those cached included
    int32_t slots_cached = 0;
  };

  // Any thread.
  absl::Status Enqueue(std::unique_ptr<Sequence> sequence);
  absl::Status CheckOpen() const;  // mutex_ is held
  absl::Status Rejected(const char* reason, absl::Status status);

  // The engine's thread.
  void Loop();
  bool TakeInbox();  // false once it is to stop
  void EndCancelledAndOverdue();
  absl::Status AdmitWaiting();
  std::vector<int32_t> PlanNextStep();
  absl::Status RunStep(const std::vector<int32_t>& planned);
  absl::Status DeliverStep(const std::vector<int32_t>& planned);
  void EndAll(const absl::Status& status);
  bool CloseEnded();  // whether there were any
  Counts Count() const;
  void Publish(const Counts& counts);
  bool SlotsChanged() const;  // since they were published
  void Fault(const absl::Status& status);
  std::optional<Clock::time_point> NextDeadline() const;

  const EngineLimits limits_;
  ChelaModel& model_;
  StatePool& pool_;
  const Tokenizer& tokenizer_;
  Metrics& metrics_;
  const std::function<void(const absl::Status&)> on_fault_;
  const int32_t max_rows_;
  const int32_t vocab_size_;
  const int32_t slots_total_;
  const int64_t slot_bytes_;
  const std::shared_ptr<WakeSignal> wake_;

  mutable std::mutex mutex_;
  std::condition_variable idle_;
  std::vector<std::unique_ptr<Sequence>> inbox_;
  int64_t inbox_tokens_ = 0;
  int64_t outstanding_ = 0;  // submitted, stream not yet closed
  Counts published_;
  bool draining_ = false;
  bool stopping_ = false;
  absl::Status fault_;

  // The engine's thread only.
  std::vector<Entry> waiting_;
  std::vector<Entry> running_;
  int64_t arrivals_ = 0;
  int64_t steps_ = 0;
  bool after_chunk_ = false;
  PrefixCache prefixes_;
  Candidates candidates_;  // of the draw that is being made
  StepPlan plan_;
  StepOutput output_;
  std::vector<size_t> logits_rows_of_;  // of each planned sequence

  std::mutex join_mutex_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_ENGINE_IMPL_H_
