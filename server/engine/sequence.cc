#include "server/engine/sequence.h"

#include "kernels/status_macros.h"

namespace chela {

int32_t Sequence::slots(int32_t /*pool_slots*/) const { return 1; }

absl::Status Sequence::Admit(const Place& place) {
  absl::StatusOr<StatePool::Slot> slot = place.pool.Acquire();
  CHELA_RETURN_IF_ERROR(slot.status());
  slot_ = *std::move(slot);
  admitted_at_ = Clock::now();
  admitted_ = true;
  metrics_.ObserveQueue(SecondsBetween(submitted_, admitted_at_));
  return OnAdmit(place);
}

void Sequence::End(FinishReason reason, absl::Status status) {
  if (ended_) return;
  ended_ = true;
  reason_ = reason;
  status_ = std::move(status);
  ended_at_ = Clock::now();
  OnEnd();
  if (slot_.valid() && reason == FinishReason::kCancelled) {
    metrics_.ObserveCancelToFree(SecondsBetween(cancelled_at(), ended_at_));
  }
  slot_ = StatePool::Slot();
}

void Sequence::AddSegment(StepPlan& plan, const StatePool::Slot& slot,
                          int64_t position, std::span<const int32_t> tokens,
                          LogitsOf logits) {
  Segment segment;
  segment.slot = slot.id();
  segment.first_row = static_cast<int32_t>(plan.tokens.size());
  segment.rows = static_cast<int32_t>(tokens.size());
  segment.position = position;
  const int32_t end = segment.first_row + segment.rows;
  const int32_t first_logits = logits == LogitsOf::kNone ? end
                               : logits == LogitsOf::kLastRow
                                   ? end - 1
                                   : segment.first_row;
  for (int32_t row = first_logits; row < end; ++row) {
    plan.logits_rows.push_back(row);
    plan.draws.AddNone();
  }
  plan.tokens.insert(plan.tokens.end(), tokens.begin(), tokens.end());
  plan.segments.push_back(segment);
}

double Sequence::queue_seconds() const {
  return SecondsBetween(submitted_, admitted_ ? admitted_at_ : ended_at_);
}

double Sequence::running_seconds() const {
  return admitted_ ? SecondsBetween(admitted_at_, ended_at_) : 0;
}

}  // namespace chela
