#include "server/engine/score_stream.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace chela {

ScoreStream::ScoreStream(std::vector<int32_t> prefix,
                         std::vector<std::vector<int32_t>> continuations)
    : prefix_(std::move(prefix)),
      continuations_(std::move(continuations)),
      in_pieces_(false) {}

ScoreStream::ScoreStream() : in_pieces_(true) {}

void ScoreStream::SetCallback(std::function<void()> callback) {
  const std::lock_guard lock(mutex_);
  callback_ = std::move(callback);
}

void ScoreStream::Append(std::vector<int32_t> tokens) {
  assert(in_pieces_);
  if (tokens.empty()) return;
  std::shared_ptr<WakeSignal> wake;
  {
    const std::lock_guard lock(mutex_);
    assert(!finished_);
    // After the end nobody takes them: a client that keeps sending must not
    // make them pile up.
    if (end_.has_value()) return;
    pending_.insert(pending_.end(), tokens.begin(), tokens.end());
    wake = wake_;
  }
  if (wake != nullptr) wake->Notify();
}

void ScoreStream::Finish() {
  assert(in_pieces_);
  std::shared_ptr<WakeSignal> wake;
  {
    const std::lock_guard lock(mutex_);
    finished_ = true;
    wake = wake_;
  }
  if (wake != nullptr) wake->Notify();
}

int64_t ScoreStream::backlog() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(pending_.size());
}

std::optional<ScoreStream::End> ScoreStream::Result() const {
  const std::lock_guard lock(mutex_);
  return end_;
}

void ScoreStream::Cancel() {
  std::shared_ptr<WakeSignal> wake;
  {
    const std::lock_guard lock(mutex_);
    if (cancelled() || end_.has_value()) return;
    cancelled_at_ = Clock::now();
    cancelled_.store(true, std::memory_order_release);
    wake = wake_;
  }
  if (wake != nullptr) wake->Notify();
}

void ScoreStream::SetWake(std::shared_ptr<WakeSignal> wake) {
  const std::lock_guard lock(mutex_);
  wake_ = std::move(wake);
}

std::vector<int32_t> ScoreStream::Take(int64_t limit) {
  constexpr int64_t kLow = kBacklogTokens / 2;
  std::vector<int32_t> taken;
  bool fell = false;
  {
    const std::lock_guard lock(mutex_);
    const int64_t before = static_cast<int64_t>(pending_.size());
    const auto end = pending_.begin() + std::min(limit, before);
    taken.assign(pending_.begin(), end);
    pending_.erase(pending_.begin(), end);
    fell = before >= kLow && static_cast<int64_t>(pending_.size()) < kLow;
  }
  // Set before Submit and dropped by Close alone, both on or before this
  // thread's turn: no lock is needed to read it.
  if (fell && callback_) callback_();
  return taken;
}

bool ScoreStream::finished() const {
  const std::lock_guard lock(mutex_);
  return finished_ && pending_.empty();
}

void ScoreStream::Close(End end) {
  // Whatever the callback holds (perhaps this very stream) goes with it.
  std::function<void()> callback;
  {
    const std::lock_guard lock(mutex_);
    assert(!end_.has_value());
    end_ = std::move(end);
    callback.swap(callback_);
    wake_.reset();
    pending_ = {};
  }
  if (callback) callback();
}

Clock::time_point ScoreStream::cancelled_at() const {
  const std::lock_guard lock(mutex_);
  return cancelled_at_;
}

}  // namespace chela
