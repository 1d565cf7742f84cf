#include "server/engine/token_stream.h"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <utility>

namespace chela {
namespace {

void MoveTo(std::vector<SampledToken>& from, std::vector<SampledToken>& to) {
  to.insert(to.end(), std::make_move_iterator(from.begin()),
            std::make_move_iterator(from.end()));
}

void Merge(GenerationDelta from, GenerationDelta& to) {
  assert(!to.end.has_value());
  MoveTo(from.prompt, to.prompt);
  to.text += from.text;
  MoveTo(from.tokens, to.tokens);
  to.end = std::move(from.end);
}

}  // namespace

void TokenStream::SetCallback(std::function<void()> callback) {
  const std::lock_guard lock(mutex_);
  callback_ = std::move(callback);
}

GenerationDelta TokenStream::Pop() {
  const std::lock_guard lock(mutex_);
  if (pending_.empty()) return {};
  GenerationDelta delta = std::move(pending_.front());
  pending_.erase(pending_.begin());
  return delta;
}

std::optional<GenerationEnd> TokenStream::End() const {
  const std::lock_guard lock(mutex_);
  if (!pending_.empty()) return std::nullopt;
  return end_;
}

void TokenStream::Cancel() {
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

void TokenStream::SetWake(std::shared_ptr<WakeSignal> wake) {
  const std::lock_guard lock(mutex_);
  wake_ = std::move(wake);
}

void TokenStream::Push(GenerationDelta delta) {
  if (delta.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    assert(!end_.has_value());
    const auto same = std::find_if(pending_.begin(), pending_.end(),
                                   [&delta](const GenerationDelta& one) {
                                     return one.choice == delta.choice;
                                   });
    if (same == pending_.end()) {
      pending_.push_back(std::move(delta));
    } else {
      Merge(std::move(delta), *same);
    }
  }
  // Set before Submit and dropped by Close alone, both on or before this
  // thread's turn: no lock is needed to read it.
  if (callback_) callback_();
}

void TokenStream::Close(GenerationEnd end) {
  // Whatever the callback holds (perhaps this very stream) goes with it.
  std::function<void()> callback;
  {
    const std::lock_guard lock(mutex_);
    assert(!end_.has_value());
    end_ = std::move(end);
    callback.swap(callback_);
    wake_.reset();
  }
  if (callback) callback();
}

Clock::time_point TokenStream::cancelled_at() const {
  const std::lock_guard lock(mutex_);
  return cancelled_at_;
}

}  // namespace chela
