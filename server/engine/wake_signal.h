#ifndef CHELA_SERVER_ENGINE_WAKE_SIGNAL_H_
#define CHELA_SERVER_ENGINE_WAKE_SIGNAL_H_

#include <condition_variable>
#include <mutex>
#include <optional>

#include "server/engine/request.h"

namespace chela {

// Tells the engine's thread that there is something to look at: a request, a
// cancel, appended tokens. Streams share it with the engine, since a client may
// cancel a stream after the engine is gone. Notifications that come before the
// wait are not lost; several count as one.
//
// Threads: thread-safe; one thread waits. Its lock is a leaf.
class WakeSignal {
 public:
  void Notify();
  // Until Notify was called since the last return, or until `deadline`.
  void Wait(std::optional<Clock::time_point> deadline);

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool notified_ = false;
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_WAKE_SIGNAL_H_
