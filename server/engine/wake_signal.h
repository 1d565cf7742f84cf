#ifndef CHELA_SERVER_ENGINE_WAKE_SIGNAL_H_
#define CHELA_SERVER_ENGINE_WAKE_SIGNAL_H_

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

#include "server/engine/request.h"

namespace chela {

// Tells the engine's threads that there is something to look at: a request, a
// cancel, appended tokens. Streams share it with the engine, since a client may
// cancel a stream after the engine is gone. Notifications that come before the
// wait are not lost; several count as one.
//
// Threads: thread-safe; each thread that waits has a Sleeper. Its lock is a
// leaf.
class WakeSignal {
 public:
  void Notify();

  // One thread's waits. The signal must outlive it.
  class Sleeper {
   public:
    explicit Sleeper(WakeSignal& signal) : signal_(signal) {}
    // Until Notify was called since the last return (at first: ever), or until
    // `deadline`.
    void Wait(std::optional<Clock::time_point> deadline);

   private:
    WakeSignal& signal_;
    uint64_t seen_ = 0;
  };

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  uint64_t notified_ = 0;
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_WAKE_SIGNAL_H_
