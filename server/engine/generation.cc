#include "server/engine/generation.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "kernels/status_macros.h"
#include "models/model_config.h"
#include "server/engine/token_hash.h"

namespace chela {
namespace {

// What the engine adds to what the client asked for.
GenerateJob Completed(GenerateJob job, const Tokenizer& tokenizer) {
  job.sampling.end_tokens = job.stop_tokens;
  if (!job.ignore_eos) job.sampling.end_tokens.push_back(tokenizer.eos_id());
  // Ranking needs the log-probabilities of what is drawn.
  if (job.best_of > job.choices && job.sampling.logprobs < 0) {
    job.sampling.logprobs = 0;
  }
  return job;
}

uint64_t BeginningHash(const GenerateJob& job) {
  constexpr auto kFirst = static_cast<size_t>(kChunkTokens);
  if (job.start != nullptr || job.prompt.size() < kFirst) return 0;
  return HashTokens(std::span(job.prompt).first(kFirst),
                    std::hash<std::string>()(job.cache_salt));
}

}  // namespace

Generation::Generation(GenerateJob job, const Tokenizer& tokenizer,
                       Metrics& metrics)
    : Sequence(job.header, metrics),
      job_(Completed(std::move(job), tokenizer)),
      tokenizer_(tokenizer),
      beginning_hash_(BeginningHash(job_)) {
  Sampler sampler(job_.sampling);
  if (job_.start != nullptr) {
    sampler.Continue(job_.start->sampler, /*as_prompt=*/!job_.prompt.empty());
    position_ = job_.start->position;
  }
  sampler.AddPrompt(job_.prompt);
  branches_.emplace_back(job_, tokenizer_, 0, std::move(sampler));
  if (job_.keep_state) turn_.emplace(job_, tokenizer_);
}

absl::Status Generation::OnAdmit(const Place& place) {
  StatePool& pool = place.pool;
  model_ = &place.model;
  pool_ = &pool;
  while (static_cast<int32_t>(spare_slots_.size()) + 1 < job_.best_of) {
    absl::StatusOr<StatePool::Slot> slot = pool.Acquire();
    CHELA_RETURN_IF_ERROR(slot.status());
    spare_slots_.push_back(*std::move(slot));
  }
  if (Turn::NeedsSpare(job_)) {
    absl::StatusOr<StatePool::Slot> slot = pool.Acquire();
    CHELA_RETURN_IF_ERROR(slot.status());
    turn_->SetSpare(*std::move(slot));
  }
  if (job_.start == nullptr) return StartFromPrefix();
  const SequenceState& start = *job_.start;
  CHELA_RETURN_IF_ERROR(pool.Restore(start.state, slot_));
  if (start.pending.has_value()) return absl::OkStatus();
  // The row that the pending token would have given.
  if (job_.prompt_logprobs >= 0) EmitPrompt(start.logits, 1, 0);
  if (reading()) return absl::OkStatus();
  // Drawn where an uninterrupted text would have drawn it.
  StepOutput output;
  CHELA_RETURN_IF_ERROR(output.Put(*model_, start.logits));
  return EndPrompt(SequenceOutput(output, 0, 1));
}

bool Generation::Ready(PrefixCache& prefixes, Clock::time_point now) {
  // Only a text that begins is looked up.
  if (job_.start != nullptr) return true;
  if (!prefix_reader_.has_cache()) {
    prefix_reader_ =
        PrefixReader(prefixes, {.salt = job_.cache_salt,
                                .tokens = job_.prompt,
                                .cache_at = job_.cache_at,
                                .pin = job_.cache_pin,
                                .reads_all = job_.prompt_logprobs >= 0});
  }
  return prefix_reader_.Ready(now);
}

absl::Status Generation::StartFromPrefix() {
  const absl::StatusOr<int64_t> cached = prefix_reader_.Start(slot_);
  CHELA_RETURN_IF_ERROR(cached.status());
  position_ = cached_ = *cached;
  metrics_.AddPromptTokens(cached_, cached_);
  // What is kept must hold nothing of the slot's last text.
  const bool kept = job_.keep_state || prefix_reader_.keeps();
  return cached_ == 0 && kept ? pool_->Clear(slot_) : absl::OkStatus();
}

int32_t Generation::RunningBranches() const {
  return static_cast<int32_t>(
      std::count_if(branches_.begin(), branches_.end(),
                    [](const Branch& branch) { return branch.running(); }));
}

std::span<const int32_t> Generation::NextChunk() const {
  if (position_ < prompt_begin()) return {&*job_.start->pending, 1};
  return std::span(job_.prompt)
      .subspan(position_ - prompt_begin(),
               ChunkRows(position_, prompt_end() - position_));
}

Work Generation::NextWork() {
  if (going_back()) return {WorkKind::kDecode, 1};
  if (!reading()) return {WorkKind::kDecode, RunningBranches()};
  // The pending token is the step that its turn left out.
  if (position_ < prompt_begin()) return {WorkKind::kDecode, 1};
  return {WorkKind::kChunk, static_cast<int32_t>(NextChunk().size())};
}

void Generation::AppendTo(StepPlan& plan) {
  if (going_back()) {
    AddSegment(plan, slot_, turn_->position(), {&turn_->next_token(), 1},
               turn_->at_last() ? LogitsOf::kLastRow : LogitsOf::kNone);
    return;
  }
  if (!reading()) {
    for (const Branch& branch : branches_) {
      if (!branch.running()) continue;
      AddSegment(plan, SlotOf(branch), position_, {&branch.last_token(), 1},
                 LogitsOf::kLastRow);
      PlanDraw(branch, plan);
    }
    return;
  }
  const std::span<const int32_t> chunk = NextChunk();
  const bool last =
      position_ + static_cast<int64_t>(chunk.size()) == prompt_end();
  AddSegment(plan, slot_, position_, chunk,
             job_.prompt_logprobs >= 0 ? LogitsOf::kAllRows
             : last                    ? LogitsOf::kLastRow
                                       : LogitsOf::kNone);
  if (last && job_.max_tokens > 0) PlanDraw(branches_.front(), plan);
}

absl::Status Generation::Deliver(const SequenceOutput& output) {
  if (going_back()) {
    turn_->Fed(output.Here());
    return going_back() ? absl::OkStatus() : Finish(last_end_.reason);
  }
  if (reading()) return DeliverChunk(output);
  ++position_;
  return SampleAll(output, /*first=*/false);
}

absl::Status Generation::DeliverChunk(const SequenceOutput& output) {
  const auto rows = static_cast<int32_t>(NextChunk().size());
  if (position_ >= prompt_begin()) metrics_.AddPromptTokens(rows, 0);
  if (job_.prompt_logprobs >= 0) {
    EmitPrompt(output.Here(), rows, position_ + 1 - prompt_begin());
  }
  position_ += rows;
  CHELA_RETURN_IF_ERROR(prefix_reader_.Reached(position_, slot_));
  if (reading()) return absl::OkStatus();
  return EndPrompt(output.Row(output.rows() - 1));
}

absl::Status Generation::EndPrompt(const SequenceOutput& last_row) {
  CHELA_RETURN_IF_ERROR(MakeBranches());
  if (job_.max_tokens > 0) return SampleAll(last_row, /*first=*/true);
  turn_->Finish(last_row.Here());
  Branch& branch = branches_.front();
  Emit(branch, branch.Finish(FinishReason::kLength));
  metrics_.GenerationFinished(Name(FinishReason::kLength));
  last_end_ = *branch.end();
  return Finish(FinishReason::kLength);
}

absl::Status Generation::MakeBranches() {
  for (StatePool::Slot& slot : spare_slots_) {
    CHELA_RETURN_IF_ERROR(pool_->Copy(slot_, slot));
    const auto index = static_cast<int32_t>(branches_.size());
    branches_.emplace_back(
        job_, tokenizer_, index,
        Sampler(branches_[0].sampler(), static_cast<uint32_t>(index)));
    branches_.back().slot = std::move(slot);
  }
  spare_slots_.clear();
  return absl::OkStatus();
}

absl::Status Generation::Finish(FinishReason reason) {
  if (turn_.has_value()) {
    absl::StatusOr<SequenceStatePtr> state = turn_->Save(*pool_, slot_);
    CHELA_RETURN_IF_ERROR(state.status());
    kept_ = *std::move(state);
  }
  End(reason, absl::OkStatus());
  return absl::OkStatus();
}

void Generation::ReleaseSlot(Branch& branch) {
  if (!branch.slot.valid()) {
    // It runs in the sequence's own, which another one takes over.
    const auto other = std::find_if(
        branches_.begin(), branches_.end(),
        [](const Branch& one) { return one.running() && one.slot.valid(); });
    std::swap(slot_, other->slot);
    other->slot = StatePool::Slot();
    return;
  }
  branch.slot = StatePool::Slot();
}

void Generation::OnEnd() {
  spare_slots_.clear();
  // Cut off while it went back, after its last token.
  if (going_back()) {
    last_end_.reason = reason_;
    last_end_.stop.clear();
  }
  if (turn_.has_value()) turn_->SetSpare(StatePool::Slot());
  int32_t left = RunningBranches();
  for (Branch& branch : branches_) {
    if (!branch.running()) continue;
    GenerationDelta rest = branch.Finish(reason_);
    metrics_.GenerationFinished(Name(reason_));
    last_choice_ = branch.index();
    last_end_ = *branch.end();
    if (--left > 0) rest.end = branch.end();
    Emit(branch, std::move(rest));
  }
  // Those that the prompt's end would have made.
  for (auto i = static_cast<int32_t>(branches_.size()); i < job_.best_of; ++i) {
    metrics_.GenerationFinished(Name(reason_));
  }
  for (Branch& branch : branches_) branch.slot = StatePool::Slot();
  if (ranks()) SendRanked();
}

}  // namespace chela
