#include "server/engine/replica.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/model_config.h"

namespace chela {
namespace {

constexpr char kWaited[] = "waited for a free state slot";
// What a stop may wait until the prefix cache has stored its states.
constexpr std::chrono::seconds kFlushPatience(5);

// Ends what is cancelled or overdue.
void EndIfOver(Sequence& sequence, Clock::time_point now, const char* where) {
  const std::optional<Clock::time_point> deadline = sequence.header().deadline;
  if (sequence.cancelled()) {
    sequence.End(FinishReason::kCancelled,
                 absl::CancelledError("the client cancelled the request"));
  } else if (deadline.has_value() && *deadline <= now) {
    sequence.End(FinishReason::kDeadline,
                 absl::DeadlineExceededError(absl::StrCat(
                     "the deadline passed while the request ", where)));
  }
}

}  // namespace

Replica::Replica(int32_t index, const EngineDevice& device,
                 const EngineLimits& limits, AdmissionQueue& queue,
                 Metrics& metrics,
                 std::function<void(const absl::Status&)> on_fault)
    : index_(index),
      name_(device.name),
      model_(device.model),
      pool_(device.pool),
      queue_(queue),
      metrics_(metrics),
      on_fault_(std::move(on_fault)),
      max_rows_(
          std::max(std::min(limits.max_batch_tokens, device.model.max_rows()),
                   static_cast<int32_t>(kChunkTokens))),
      prefixes_({.max_bytes = limits.prefix_cache_bytes,
                 .store = device.prefix_store,
                 .max_stored_bytes = limits.prefix_store_bytes,
                 .max_pinned_bytes = limits.prefix_pinned_bytes},
                device.pool, metrics) {
  if (device.prefix_store != nullptr) {
    device.prefix_store->SetWake([wake = queue.wake()] { wake->Notify(); });
  }
  Report();
  thread_ = std::thread([this] { Loop(); });
}

void Replica::Join() {
  if (thread_.joinable()) thread_.join();
}

void Replica::Loop() {
  WakeSignal::Sleeper sleeper(*queue_.wake());
  while (queue_.Closed().ok()) {
    prefixes_.TakeEvents();
    EndCancelledAndOverdue();
    absl::Status status = AdmitAssigned();
    std::vector<int32_t> planned;
    if (status.ok()) planned = PlanNextStep();
    if (status.ok() && !planned.empty()) status = RunStep(planned);
    if (!status.ok()) {
      Fault(status);
      return;
    }
    // A slot that has just become free may let another request in.
    const bool changed = CloseEnded();
    if (SlotsChanged()) Report();
    if (!changed && planned.empty()) sleeper.Wait(NextDeadline());
  }
  EndAll(queue_.Closed());
  if (!queue_.failed()) prefixes_.Flush(Clock::now() + kFlushPatience);
}

void Replica::Adopt(std::vector<AdmissionQueue::Entry> entries) {
  for (AdmissionQueue::Entry& entry : entries) {
    running_.push_back({std::move(entry.sequence), entry.arrival});
  }
}

void Replica::EndCancelledAndOverdue() {
  const Clock::time_point now = Clock::now();
  for (const Running& entry : running_) EndIfOver(*entry.sequence, now, "ran");
  std::vector<AdmissionQueue::Entry> waiting = queue_.TakeEnded(now);
  for (const AdmissionQueue::Entry& entry : waiting) {
    EndIfOver(*entry.sequence, now, kWaited);
  }
  Adopt(std::move(waiting));
  // Their slots are free: what waits may be admitted in this very turn, and
  // nothing that ended is planned.
  CloseEnded();
}

int32_t Replica::SlotsOf(const AdmissionQueue::Entry& entry) const {
  return entry.sequence->slots(pool_.num_slots());
}

absl::Status Replica::AdmitAssigned() {
  std::vector<AdmissionQueue::Entry> taken =
      std::exchange(not_ready_, queue_.Take(index_));
  std::move(not_ready_.begin(), not_ready_.end(), std::back_inserter(taken));
  not_ready_.clear();
  if (taken.empty()) return absl::OkStatus();
  const Clock::time_point now = Clock::now();
  std::vector<AdmissionQueue::Entry> ready;
  int32_t wanted = 0;
  for (AdmissionQueue::Entry& entry : taken) {
    EndIfOver(*entry.sequence, now, kWaited);
    if (!entry.sequence->ended() && !entry.sequence->Ready(prefixes_, now)) {
      not_ready_.push_back(std::move(entry));
      continue;
    }
    wanted += SlotsOf(entry);
    ready.push_back(std::move(entry));
  }
  if (ready.empty()) return absl::OkStatus();
  absl::Status status = prefixes_.FreeSlots(wanted);
  for (const AdmissionQueue::Entry& entry : ready) {
    if (status.ok() && !entry.sequence->ended()) {
      status = entry.sequence->Admit(
          {.model = model_, .pool = pool_, .prefixes = prefixes_});
    }
  }
  Adopt(std::move(ready));
  Report();
  return status;
}

bool Replica::CloseEnded() {
  std::vector<std::unique_ptr<Sequence>> ended;
  for (Running& entry : running_) {
    if (entry.sequence->ended()) ended.push_back(std::move(entry.sequence));
  }
  if (ended.empty()) return false;
  std::erase_if(running_,
                [](const Running& entry) { return entry.sequence == nullptr; });
  Report();
  for (const std::unique_ptr<Sequence>& sequence : ended) sequence->Close();
  queue_.CountClosed(static_cast<int64_t>(ended.size()));
  return true;
}

void Replica::EndAll(const absl::Status& status) {
  Adopt(queue_.TakeAll());
  Adopt(std::exchange(not_ready_, {}));
  for (const Running& entry : running_) {
    // A status of its own, since the stream's thread gets it.
    entry.sequence->End(FinishReason::kError,
                        absl::Status(status.code(), status.message()));
  }
  CloseEnded();
}

bool Replica::SlotsChanged() const {
  return reported_cached_ != prefixes_.slots() ||
         reported_free_ != pool_.free_slots() + prefixes_.slots();
}

void Replica::Report() {
  reported_cached_ = prefixes_.slots();
  reported_free_ = pool_.free_slots() + reported_cached_;
  metrics_.SetSlots(name_, {.free = pool_.free_slots(),
                            .active = pool_.num_slots() - reported_free_,
                            .cached = reported_cached_,
                            .bytes = pool_.slot_bytes() * pool_.num_slots()});
  int32_t promised = 0;
  for (const AdmissionQueue::Entry& entry : not_ready_) {
    promised += SlotsOf(entry);
  }
  queue_.SetReport(index_,
                   {.running = static_cast<int32_t>(running_.size()),
                    .not_ready = static_cast<int32_t>(not_ready_.size()),
                    .slots_free = reported_free_,
                    .slots_promised = promised});
}

void Replica::Fault(const absl::Status& status) {
  const absl::Status fault = absl::UnavailableError(
      absl::StrCat("the device failed: ", name_, ": ", status.ToString()));
  // From here on Submit refuses, and the other replicas end their streams at
  // their next turn.
  const bool first = queue_.Fail(fault);
  EndAll(fault);
  if (first && on_fault_) on_fault_(fault);
}

std::optional<Clock::time_point> Replica::NextDeadline() const {
  std::optional<Clock::time_point> next = queue_.NextDeadline();
  const auto take = [&next](std::optional<Clock::time_point> time) {
    if (time.has_value())
      next = next.has_value() ? std::min(*next, *time) : time;
  };
  take(prefixes_.next_pin_end());
  for (const Running& entry : running_) take(entry.sequence->header().deadline);
  for (const AdmissionQueue::Entry& entry : not_ready_) {
    take(entry.sequence->header().deadline);
    take(entry.sequence->waits_until());
  }
  return next;
}

}  // namespace chela
