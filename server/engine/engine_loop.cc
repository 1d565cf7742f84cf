#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/engine_impl.h"

namespace chela {
namespace {

// What a stop may wait until the prefix cache has stored its states.
constexpr std::chrono::seconds kFlushPatience(5);

}  // namespace

void EngineImpl::Loop() {
  while (TakeInbox()) {
    prefixes_.TakeEvents();
    EndCancelledAndOverdue();
    absl::Status status = AdmitWaiting();
    std::vector<int32_t> planned;
    if (status.ok()) planned = PlanNextStep();
    if (status.ok() && !planned.empty()) status = RunStep(planned);
    if (!status.ok()) {
      Fault(status);
      continue;
    }
    // A slot that has just become free may let another request in.
    const bool changed = CloseEnded();
    if (SlotsChanged()) Publish(Count());
    if (!changed && planned.empty()) wake_->Wait(NextDeadline());
  }
  EndAll(absl::UnavailableError("the server stopped before the request ended"));
  CloseEnded();
  if (fault_.ok()) prefixes_.Flush(Clock::now() + kFlushPatience);
}

bool EngineImpl::TakeInbox() {
  std::vector<std::unique_ptr<Sequence>> taken;
  bool go_on = false;
  {
    const std::lock_guard lock(mutex_);
    taken.swap(inbox_);
    published_.waiting += static_cast<int32_t>(taken.size());
    published_.queued_tokens += std::exchange(inbox_tokens_, 0);
    go_on = !stopping_;
  }
  for (std::unique_ptr<Sequence>& sequence : taken) {
    waiting_.push_back({std::move(sequence), arrivals_++});
  }
  if (!taken.empty()) Publish(Count());
  return go_on;
}

void EngineImpl::EndCancelledAndOverdue() {
  const Clock::time_point now = Clock::now();
  const auto check = [now](std::vector<Entry>& entries, const char* where) {
    for (Entry& entry : entries) {
      Sequence& sequence = *entry.sequence;
      const std::optional<Clock::time_point> deadline =
          sequence.header().deadline;
      if (sequence.cancelled()) {
        sequence.End(FinishReason::kCancelled,
                     absl::CancelledError("the client cancelled the request"));
      } else if (deadline.has_value() && *deadline <= now) {
        sequence.End(FinishReason::kDeadline,
                     absl::DeadlineExceededError(absl::StrCat(
                         "the deadline passed while the request ", where)));
      }
    }
  };
  check(waiting_, "waited for a free state slot");
  check(running_, "ran");
  // Their slots are free: what waits may be admitted in this very turn, and
  // nothing that ended is planned.
  CloseEnded();
}

absl::Status EngineImpl::AdmitWaiting() {
  if (waiting_.empty()) return absl::OkStatus();
  std::vector<WaitingEntry> entries;
  entries.reserve(waiting_.size());
  for (const Entry& entry : waiting_) {
    entries.push_back({entry.sequence->header().priority, entry.arrival,
                       entry.sequence->slots(slots_total_)});
  }
  std::vector<int32_t> admitted =
      Admit(entries, pool_.free_slots() + prefixes_.slots());
  // The slots of those that are not ready stay free for them.
  std::erase_if(admitted, [this, now = Clock::now()](int32_t index) {
    return !waiting_[index].sequence->Ready(now);
  });
  if (admitted.empty()) return absl::OkStatus();
  int32_t wanted = 0;
  for (const int32_t index : admitted) wanted += entries[index].slots;
  absl::Status status = prefixes_.FreeSlots(wanted);
  for (const int32_t index : admitted) {
    running_.push_back(std::move(waiting_[index]));
    if (status.ok()) status = running_.back().sequence->Admit(pool_);
  }
  std::erase_if(waiting_,
                [](const Entry& entry) { return entry.sequence == nullptr; });
  Publish(Count());
  return status;
}

void EngineImpl::EndAll(const absl::Status& status) {
  for (std::vector<Entry>* entries : {&waiting_, &running_}) {
    for (Entry& entry : *entries) {
      entry.sequence->End(FinishReason::kError, status);
    }
  }
}

bool EngineImpl::CloseEnded() {
  std::vector<std::unique_ptr<Sequence>> ended;
  for (std::vector<Entry>* entries : {&waiting_, &running_}) {
    for (Entry& entry : *entries) {
      if (entry.sequence->ended()) ended.push_back(std::move(entry.sequence));
    }
    std::erase_if(*entries,
                  [](const Entry& entry) { return entry.sequence == nullptr; });
  }
  if (ended.empty()) return false;
  Publish(Count());
  for (const std::unique_ptr<Sequence>& sequence : ended) sequence->Close();
  {
    const std::lock_guard lock(mutex_);
    outstanding_ -= static_cast<int64_t>(ended.size());
  }
  idle_.notify_all();
  return true;
}

EngineImpl::Counts EngineImpl::Count() const {
  Counts counts;
  counts.running = static_cast<int32_t>(running_.size());
  counts.waiting = static_cast<int32_t>(waiting_.size());
  for (const Entry& entry : waiting_) {
    counts.queued_tokens += entry.sequence->queued_tokens();
  }
  counts.slots_cached = prefixes_.slots();
  counts.slots_free = pool_.free_slots() + counts.slots_cached;
  return counts;
}

// Reads what was published without the lock: no other thread writes it.
bool EngineImpl::SlotsChanged() const {
  return published_.slots_cached != prefixes_.slots() ||
         published_.slots_free != pool_.free_slots() + prefixes_.slots();
}

void EngineImpl::Publish(const Counts& counts) {
  metrics_.SetQueue(counts.running, counts.waiting, counts.queued_tokens);
  metrics_.SetSlots(counts.slots_free - counts.slots_cached,
                    slots_total_ - counts.slots_free, counts.slots_cached,
                    slot_bytes_ * slots_total_);
  const std::lock_guard lock(mutex_);
  published_ = counts;
}

void EngineImpl::Fault(const absl::Status& status) {
  const absl::Status fault = absl::UnavailableError(
      absl::StrCat("the device failed: ", status.ToString()));
  {
    const std::lock_guard lock(mutex_);
    fault_ = fault;
  }
  // Whatever slipped in before the flag was set; from here on Submit refuses.
  TakeInbox();
  EndAll(fault);
  CloseEnded();
  if (on_fault_) on_fault_(fault);
}

std::optional<Clock::time_point> EngineImpl::NextDeadline() const {
  std::optional<Clock::time_point> next;
  for (const std::vector<Entry>* entries : {&waiting_, &running_}) {
    for (const Entry& entry : *entries) {
      for (const auto& time :
           {entry.sequence->header().deadline, entry.sequence->waits_until()}) {
        if (!time.has_value()) continue;
        next = next.has_value() ? std::min(*next, *time) : *time;
      }
    }
  }
  return next;
}

}  // namespace chela
