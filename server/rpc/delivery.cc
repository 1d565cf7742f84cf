#include "server/rpc/delivery.h"

#include <utility>

namespace chela {

Delivery::Delivery() : thread_([this] { Run(); }) {}

Delivery::~Delivery() { Stop(); }

void Delivery::Notify(const std::weak_ptr<Recipient>& recipient) {
  std::shared_ptr<Recipient> alive = recipient.lock();
  if (alive == nullptr || alive->notified_.exchange(true)) return;
  bool was_empty = false;
  {
    std::lock_guard lock(mutex_);
    was_empty = waiting_.empty();
    waiting_.push_back(std::move(alive));
  }
  if (was_empty) changed_.notify_one();
}

void Delivery::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Delivery::Run() {
  std::vector<std::shared_ptr<Recipient>> batch;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      std::swap(batch, waiting_);
    }
    for (const std::shared_ptr<Recipient>& recipient : batch) {
      // Before Deliver: news during it must lead to another one.
      recipient->notified_.store(false);
      recipient->Deliver();
    }
    batch.clear();
  }
}

}  // namespace chela
