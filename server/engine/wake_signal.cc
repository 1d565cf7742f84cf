#include "server/engine/wake_signal.h"

namespace chela {

void WakeSignal::Notify() {
  {
    const std::lock_guard lock(mutex_);
    ++notified_;
  }
  condition_.notify_all();
}

void WakeSignal::Sleeper::Wait(std::optional<Clock::time_point> deadline) {
  std::unique_lock lock(signal_.mutex_);
  const auto notified = [this] { return signal_.notified_ != seen_; };
  if (deadline.has_value()) {
    signal_.condition_.wait_until(lock, *deadline, notified);
  } else {
    signal_.condition_.wait(lock, notified);
  }
  seen_ = signal_.notified_;
}

}  // namespace chela
