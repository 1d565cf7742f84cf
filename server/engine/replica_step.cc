#include <utility>

#include "kernels/status_macros.h"
#include "server/engine/replica.h"

namespace chela {

std::vector<int32_t> Replica::PlanNextStep() {
  std::vector<RunningEntry> entries;
  entries.reserve(running_.size());
  for (const Running& entry : running_) {
    Sequence& sequence = *entry.sequence;
    // Looking for work may be what finds that there is none left.
    const Work work = sequence.ended() ? Work() : sequence.NextWork();
    entries.push_back(
        {work, sequence.header().priority, entry.arrival, entry.last_step});
  }
  std::vector<int32_t> planned =
      PlanStep(entries, {.max_rows = max_rows_, .after_chunk = after_chunk_});
  after_chunk_ = false;
  for (const int32_t index : planned) {
    after_chunk_ |= entries[index].work.kind == WorkKind::kChunk;
  }
  return planned;
}

absl::Status Replica::RunStep(const std::vector<int32_t>& planned) {
  plan_.segments.clear();
  plan_.tokens.clear();
  plan_.logits_rows.clear();
  plan_.draws.clear();
  logits_rows_of_.clear();
  for (const int32_t index : planned) {
    const size_t before = plan_.logits_rows.size();
    running_[index].sequence->AppendTo(plan_);
    running_[index].last_step = steps_;
    logits_rows_of_.push_back(plan_.logits_rows.size() - before);
  }
  // A step without draws is another program; each row's part is the same.
  if (!plan_.draws.any()) plan_.draws.clear();
  ++steps_;

  Metrics::Step step;
  step.sequences = static_cast<int32_t>(plan_.segments.size());
  step.tokens = static_cast<int32_t>(plan_.tokens.size());
  const Clock::time_point start = Clock::now();
  CHELA_RETURN_IF_ERROR(output_.Run(model_, plan_, pool_));
  const Clock::time_point forwarded = Clock::now();
  CHELA_RETURN_IF_ERROR(DeliverStep(planned));
  (after_chunk_ ? step.prefill_seconds : step.decode_seconds) =
      SecondsBetween(start, forwarded);
  step.sample_seconds = SecondsBetween(forwarded, Clock::now());
  metrics_.ObserveStep(name_, step);
  return absl::OkStatus();
}

absl::Status Replica::DeliverStep(const std::vector<int32_t>& planned) {
  size_t first = 0;
  for (size_t i = 0; i < planned.size(); ++i) {
    const size_t rows = logits_rows_of_[i];
    CHELA_RETURN_IF_ERROR(running_[planned[i]].sequence->Deliver(
        SequenceOutput(output_, first, rows)));
    first += rows;
  }
  return absl::OkStatus();
}

}  // namespace chela
