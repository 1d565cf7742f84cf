#include "server/engine/wake_signal.h"

namespace chela {

void WakeSignal::Notify() {
  {
    const std::lock_guard lock(mutex_);
    notified_ = true;
  }
  condition_.notify_one();
}

void WakeSignal::Wait(std::optional<Clock::time_point> deadline) {
  std::unique_lock lock(mutex_);
  const auto notified = [this] { return notified_; };
  if (deadline.has_value()) {
    condition_.wait_until(lock, *deadline, notified);
  } else {
    condition_.wait(lock, notified);
  }
  notified_ = false;
}

}  // namespace chela
