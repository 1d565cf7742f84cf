#include "server/engine/admission_queue.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

namespace chela {
namespace {

// A status of one's own: copies would share their text between threads.
absl::Status Fresh(const absl::Status& status) {
  return absl::Status(status.code(), status.message());
}

bool Overdue(const Sequence& sequence, Clock::time_point now) {
  const std::optional<Clock::time_point> deadline = sequence.header().deadline;
  return deadline.has_value() && *deadline <= now;
}

// Moves those entries of `from` to the end of `to` that `wanted` chooses.
template <typename Wanted>
void MoveIf(std::vector<AdmissionQueue::Entry>& from,
            std::vector<AdmissionQueue::Entry>& to, Wanted wanted) {
  const auto moved = std::stable_partition(
      from.begin(), from.end(),
      [&wanted](const auto& entry) { return !wanted(*entry.sequence); });
  std::move(moved, from.end(), std::back_inserter(to));
  from.erase(moved, from.end());
}

}  // namespace

AdmissionQueue::AdmissionQueue(int32_t replicas, int32_t slots,
                               int64_t slot_bytes, int32_t max_waiting,
                               Metrics& metrics)
    : slots_(slots),
      slot_bytes_(slot_bytes),
      max_waiting_(max_waiting),
      metrics_(metrics),
      seats_(replicas) {
  for (Seat& seat : seats_) {
    seat.report.slots_free = slots;
    seat.unassigned = slots;
  }
  Publish();
}

absl::Status AdmissionQueue::CheckOpen() const {
  if (!fault_.ok()) return Fresh(fault_);
  if (stopping_ || draining_) {
    return absl::UnavailableError(
        "the server is shutting down and takes no new requests");
  }
  return absl::OkStatus();
}

absl::Status AdmissionQueue::Submit(std::unique_ptr<Sequence> sequence) {
  if (Overdue(*sequence, Clock::now())) {
    metrics_.AdmissionRejected("deadline");
    return absl::DeadlineExceededError(
        "the deadline had passed when the request arrived");
  }
  {
    const std::lock_guard lock(mutex_);
    if (absl::Status open = CheckOpen(); !open.ok()) {
      metrics_.AdmissionRejected("draining");
      return open;
    }
    const int64_t arrival = arrivals_++;
    waiting_.push_back({std::move(sequence), arrival});
    Assign();
    // Those before it may have been let in, or it may have passed them.
    const auto own = std::find_if(
        waiting_.begin(), waiting_.end(),
        [arrival](const Entry& entry) { return entry.arrival == arrival; });
    const auto ahead = static_cast<int64_t>(waiting_.size()) - 1;
    if (own != waiting_.end() && ahead >= max_waiting_) {
      waiting_.erase(own);
      metrics_.AdmissionRejected("queue_full");
      return absl::ResourceExhaustedError(
          absl::StrCat("queue: ", ahead, " requests wait; want fewer than ",
                       max_waiting_, ", try again later"));
    }
    ++outstanding_;
    Publish();
  }
  wake_->Notify();
  return absl::OkStatus();
}

bool AdmissionQueue::Assign() {
  // Under overload nobody has a slot, and the queue is long.
  if (std::none_of(seats_.begin(), seats_.end(),
                   [](const Seat& seat) { return seat.unassigned > 0; })) {
    return false;
  }
  std::vector<WaitingEntry> entries;
  entries.reserve(waiting_.size());
  for (const Entry& entry : waiting_) {
    const uint64_t hash = entry.sequence->beginning_hash();
    const Holder& holder = HolderOf(hash);
    entries.push_back(
        {.priority = entry.sequence->header().priority,
         .arrival = entry.arrival,
         .slots = entry.sequence->slots(slots_),
         .holder = hash != 0 && holder.hash == hash ? holder.replica : -1});
  }
  std::vector<int32_t> free_slots;
  free_slots.reserve(seats_.size());
  for (const Seat& seat : seats_) free_slots.push_back(seat.unassigned);
  const std::vector<Admission> admitted = Admit(entries, std::move(free_slots));
  for (const Admission& admission : admitted) {
    Entry& entry = waiting_[admission.entry];
    Seat& seat = seats_[admission.replica];
    const uint64_t hash = entry.sequence->beginning_hash();
    if (hash != 0) HolderOf(hash) = {hash, admission.replica};
    seat.unassigned -= entries[admission.entry].slots;
    seat.assigned.push_back(std::move(entry));
  }
  std::erase_if(waiting_,
                [](const Entry& entry) { return entry.sequence == nullptr; });
  return !admitted.empty();
}

std::vector<AdmissionQueue::Entry> AdmissionQueue::Take(int32_t replica) {
  const std::lock_guard lock(mutex_);
  Seat& seat = seats_[replica];
  // Whether they run or are not ready the next report says.
  seat.report.not_ready += static_cast<int32_t>(seat.assigned.size());
  return std::exchange(seat.assigned, {});
}

std::vector<AdmissionQueue::Entry> AdmissionQueue::TakeEnded(
    Clock::time_point now) {
  std::vector<Entry> ended;
  bool assigned = false;
  {
    const std::lock_guard lock(mutex_);
    MoveIf(waiting_, ended, [now](const Sequence& sequence) {
      return sequence.cancelled() || Overdue(sequence, now);
    });
    if (ended.empty()) return ended;
    // One of them may have held back others.
    assigned = Assign();
    Publish();
  }
  if (assigned) wake_->Notify();
  return ended;
}

std::vector<AdmissionQueue::Entry> AdmissionQueue::TakeAll() {
  std::vector<Entry> all;
  const std::lock_guard lock(mutex_);
  const auto any = [](const Sequence&) { return true; };
  MoveIf(waiting_, all, any);
  for (Seat& seat : seats_) MoveIf(seat.assigned, all, any);
  Publish();
  return all;
}

void AdmissionQueue::SetReport(int32_t replica, const Report& report) {
  bool assigned = false;
  {
    const std::lock_guard lock(mutex_);
    Seat& seat = seats_[replica];
    seat.report = report;
    seat.unassigned = report.slots_free - report.slots_promised;
    for (const Entry& entry : seat.assigned) {
      seat.unassigned -= entry.sequence->slots(slots_);
    }
    assigned = !waiting_.empty() && Assign();
    Publish();
  }
  if (assigned) wake_->Notify();
}

EngineLoad AdmissionQueue::Sum() const {
  EngineLoad load;
  load.slots_total = slots_ * static_cast<int32_t>(seats_.size());
  load.slot_bytes = slot_bytes_;
  load.waiting = static_cast<int32_t>(waiting_.size());
  for (const Entry& entry : waiting_) {
    load.queued_tokens += entry.sequence->queued_tokens();
  }
  for (const Seat& seat : seats_) {
    load.running += seat.report.running;
    load.slots_free += seat.report.slots_free;
    load.waiting +=
        static_cast<int32_t>(seat.assigned.size()) + seat.report.not_ready;
    for (const Entry& entry : seat.assigned) {
      load.queued_tokens += entry.sequence->queued_tokens();
    }
  }
  load.draining = draining_ || stopping_;
  load.healthy = fault_.ok();
  return load;
}

void AdmissionQueue::Publish() const {
  const EngineLoad load = Sum();
  metrics_.SetQueue(load.running, load.waiting, load.queued_tokens);
}

EngineLoad AdmissionQueue::Load() const {
  const std::lock_guard lock(mutex_);
  return Sum();
}

void AdmissionQueue::Drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

bool AdmissionQueue::WaitIdle(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return idle_.wait_until(lock, deadline, [this] { return outstanding_ == 0; });
}

void AdmissionQueue::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_->Notify();
}

absl::Status AdmissionQueue::Closed() const {
  const std::lock_guard lock(mutex_);
  if (!fault_.ok()) return Fresh(fault_);
  return stopping_ ? absl::UnavailableError(
                         "the server stopped before the request ended")
                   : absl::OkStatus();
}

bool AdmissionQueue::failed() const {
  const std::lock_guard lock(mutex_);
  return !fault_.ok();
}

bool AdmissionQueue::Fail(const absl::Status& fault) {
  {
    const std::lock_guard lock(mutex_);
    if (!fault_.ok()) return false;
    fault_ = Fresh(fault);
  }
  wake_->Notify();
  return true;
}

void AdmissionQueue::CountClosed(int64_t streams) {
  {
    const std::lock_guard lock(mutex_);
    outstanding_ -= streams;
  }
  idle_.notify_all();
}

std::optional<Clock::time_point> AdmissionQueue::NextDeadline() const {
  std::optional<Clock::time_point> next;
  const std::lock_guard lock(mutex_);
  for (const Entry& entry : waiting_) {
    const auto deadline = entry.sequence->header().deadline;
    if (!deadline.has_value()) continue;
    next = next.has_value() ? std::min(*next, *deadline) : *deadline;
  }
  return next;
}

}  // namespace chela
