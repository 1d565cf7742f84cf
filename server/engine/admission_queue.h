#ifndef CHELA_SERVER_ENGINE_ADMISSION_QUEUE_H_
#define CHELA_SERVER_ENGINE_ADMISSION_QUEUE_H_

#include <array>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "server/engine/engine.h"
#include "server/engine/scheduler.h"
#include "server/engine/sequence.h"
#include "server/engine/wake_signal.h"

namespace chela {

// The one queue before all replicas of an engine. A request waits here, bound
// to none of them, until a replica has its slots free; only then is it assigned
// (Admit in scheduler.h), so none waits at one replica while another idles.
// What is assigned has its slots: replicas report how many they have free, and
// nobody else takes any.
//
// A request with the first chunk of an earlier one prefers the replica that
// read that (its prefix cache may hold the state). The queue remembers the last
// assignment by a hash of that chunk, in a table of fixed size: a guess that
// costs nothing when it is wrong.
//
// Threads: thread-safe. Its lock is taken before a stream's and the metrics'.
class AdmissionQueue {
 public:
  struct Entry {
    std::unique_ptr<Sequence> sequence;
    int64_t arrival = 0;
  };
  // What a replica has free and runs, of all that it took.
  struct Report {
    int32_t running = 0;
    int32_t not_ready = 0;       // taken, but not yet admitted
    int32_t slots_free = 0;      // those of its prefix cache included
    int32_t slots_promised = 0;  // of them, to those that are not ready
  };

  // replicas: >= 1, each with `slots` slots of `slot_bytes`, all free.
  // max_waiting: requests beyond those that are assigned at once.
  AdmissionQueue(int32_t replicas, int32_t slots, int64_t slot_bytes,
                 int32_t max_waiting, Metrics& metrics);

  // What Engine says of its methods of these names.
  absl::Status Submit(std::unique_ptr<Sequence> sequence);
  EngineLoad Load() const;
  void Drain();
  bool WaitIdle(Clock::time_point deadline);
  void Stop();

  // What a stream notifies; every sleeping replica looks then.
  const std::shared_ptr<WakeSignal>& wake() const { return wake_; }

  // For the replicas.
  // The end of everything: OK while the engine runs, afterwards the status that
  // all streams which are left end with.
  absl::Status Closed() const;
  // A device failed: the engine is closed. False if it was before.
  bool Fail(const absl::Status& fault);
  // Whether it is closed because a device failed.
  bool failed() const;
  // What was assigned to the replica. Until it has admitted one, it reports its
  // slots as promised.
  std::vector<Entry> Take(int32_t replica);
  // Those among the waiting that are cancelled or overdue.
  std::vector<Entry> TakeEnded(Clock::time_point now);
  // Everything that waits or is assigned to anyone; after Closed() only.
  std::vector<Entry> TakeAll();
  void SetReport(int32_t replica, const Report& report);
  // So many streams were closed.
  void CountClosed(int64_t streams);
  std::optional<Clock::time_point> NextDeadline() const;

 private:
  struct Seat {
    Report report;
    int32_t unassigned = 0;  // free slots that no request was promised
    std::vector<Entry> assigned;
  };
  // Of the latest requests with a first chunk of one hash.
  struct Holder {
    uint64_t hash = 0;  // 0: none
    int32_t replica = 0;
  };

  // mutex_ is held.
  absl::Status CheckOpen() const;
  bool Assign();  // whether anything was
  void Publish() const;
  EngineLoad Sum() const;
  Holder& HolderOf(uint64_t hash) { return holders_[hash % holders_.size()]; }

  const int32_t slots_;
  const int64_t slot_bytes_;
  const int32_t max_waiting_;
  Metrics& metrics_;
  const std::shared_ptr<WakeSignal> wake_ = std::make_shared<WakeSignal>();

  mutable std::mutex mutex_;
  std::condition_variable idle_;
  std::vector<Seat> seats_;
  std::vector<Entry> waiting_;  // assigned to nobody
  std::array<Holder, 4096> holders_;
  int64_t arrivals_ = 0;
  int64_t outstanding_ = 0;  // submitted, stream not yet closed
  bool draining_ = false;
  bool stopping_ = false;
  absl::Status fault_;
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_ADMISSION_QUEUE_H_
