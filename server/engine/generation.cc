#include "server/engine/generation.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "kernels/status_macros.h"

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

}  // namespace

Generation::Generation(GenerateJob job, const Tokenizer& tokenizer,
                       Candidates& scratch, Metrics& metrics)
    : Sequence(job.header, metrics),
      job_(Completed(std::move(job), tokenizer)),
      tokenizer_(tokenizer) {
  Sampler sampler(job_.sampling, 0, &scratch);
  sampler.AddPrompt(job_.prompt);
  branches_.emplace_back(job_, tokenizer_, 0, std::move(sampler));
}

absl::Status Generation::OnAdmit(StatePool& pool) {
  pool_ = &pool;
  while (static_cast<int32_t>(spare_slots_.size()) + 1 < job_.best_of) {
    absl::StatusOr<StatePool::Slot> slot = pool.Acquire();
    CHELA_RETURN_IF_ERROR(slot.status());
    spare_slots_.push_back(*std::move(slot));
  }
  return absl::OkStatus();
}

int32_t Generation::RunningBranches() const {
  return static_cast<int32_t>(
      std::count_if(branches_.begin(), branches_.end(),
                    [](const Branch& branch) { return branch.running(); }));
}

Work Generation::NextWork() {
  if (position_ < prompt_size()) {
    return {WorkKind::kChunk, ChunkRows(position_, prompt_size() - position_)};
  }
  return {WorkKind::kDecode, RunningBranches()};
}

void Generation::AppendTo(StepPlan& plan) {
  if (position_ >= prompt_size()) {
    for (const Branch& branch : branches_) {
      if (!branch.running()) continue;
      AddSegment(plan, SlotOf(branch), position_, {&branch.last_token(), 1},
                 LogitsOf::kLastRow);
    }
    return;
  }
  const int32_t rows = NextWork().rows;
  const bool last = position_ + rows == prompt_size();
  AddSegment(plan, slot_, position_,
             std::span(job_.prompt).subspan(position_, rows),
             job_.prompt_logprobs >= 0 ? LogitsOf::kAllRows
             : last                    ? LogitsOf::kLastRow
                                       : LogitsOf::kNone);
}

absl::Status Generation::Deliver(std::span<const float> logits) {
  const Work work = NextWork();
  if (work.kind == WorkKind::kDecode) {
    ++position_;
    SampleAll(logits, /*first=*/false);
    return absl::OkStatus();
  }
  metrics_.AddPromptTokens(work.rows, 0);
  if (job_.prompt_logprobs >= 0) EmitPrompt(logits, work.rows);
  position_ += work.rows;
  if (position_ < prompt_size()) return absl::OkStatus();
  CHELA_RETURN_IF_ERROR(MakeBranches());
  const size_t rows = job_.prompt_logprobs >= 0 ? work.rows : 1;
  SampleAll(logits.last(logits.size() / rows), /*first=*/true);
  return absl::OkStatus();
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

void Generation::SampleAll(std::span<const float> logits, bool first) {
  const int32_t running = RunningBranches();
  const size_t vocab = first ? logits.size() : logits.size() / running;
  int32_t left = running;
  for (Branch& branch : branches_) {
    if (!branch.running()) continue;
    GenerationDelta delta = branch.Sample(logits.first(vocab));
    if (!first) logits = logits.subspan(vocab);
    ++generated_;
    if (!branch.running()) {
      metrics_.GenerationFinished(Name(branch.end()->reason));
      last_choice_ = branch.index();
      last_end_ = *branch.end();
      if (--left > 0) {
        delta.end = branch.end();
        ReleaseSlot(branch);
      }
    }
    Emit(branch, std::move(delta));
  }
  CountTokens(running, first);
  if (left == 0) End(last_end_.reason, absl::OkStatus());
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

void Generation::Emit(Branch& branch, GenerationDelta delta) {
  if (!ranks()) {
    job_.stream->Push(std::move(delta));
    return;
  }
  branch.held.text += delta.text;
  std::move(delta.tokens.begin(), delta.tokens.end(),
            std::back_inserter(branch.held.tokens));
}

void Generation::EmitPrompt(std::span<const float> logits, int32_t rows) {
  const size_t vocab = logits.size() / rows;
  GenerationDelta delta;
  if (position_ == 0) {
    // Nothing comes before it: no probability, no alternatives.
    delta.prompt.push_back({.token = job_.prompt[0], .top = {}});
  }
  for (int32_t row = 0; row < rows; ++row) {
    const int64_t next = position_ + row + 1;
    if (next == prompt_size()) break;
    delta.prompt.push_back(WithLogprobs(logits.subspan(row * vocab, vocab),
                                        job_.prompt[next],
                                        job_.prompt_logprobs));
  }
  job_.stream->Push(std::move(delta));
}

void Generation::CountTokens(int64_t tokens, bool first) {
  const Clock::time_point now = Clock::now();
  if (first) {
    first_token_at_ = now;
    metrics_.ObserveTimeToFirstToken(SecondsBetween(submitted_, now));
  } else {
    for (int64_t i = 0; i < tokens; ++i) {
      metrics_.ObserveInterTokenLatency(SecondsBetween(last_token_at_, now));
    }
  }
  last_token_at_ = now;
  metrics_.AddGeneratedTokens(tokens);
}

void Generation::OnEnd() {
  spare_slots_.clear();
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

void Generation::SendRanked() {
  std::vector<Branch*> order;
  for (Branch& branch : branches_) order.push_back(&branch);
  std::stable_sort(
      order.begin(), order.end(), [](const Branch* a, const Branch* b) {
        return a->mean_log_probability() > b->mean_log_probability();
      });
  const auto count = std::min(order.size(), static_cast<size_t>(job_.choices));
  for (size_t i = 0; i < count; ++i) {
    GenerationDelta delta = std::move(order[i]->held);
    delta.choice = static_cast<int32_t>(i);
    last_choice_ = delta.choice;
    last_end_ = *order[i]->end();
    if (i + 1 < count) delta.end = order[i]->end();
    job_.stream->Push(std::move(delta));
  }
}

void Generation::Close() {
  GenerationEnd end;
  static_cast<ChoiceEnd&>(end) = last_end_;
  end.status = std::move(status_);  // not shared between threads
  end.choice = last_choice_;
  end.usage = MakeUsage();
  job_.stream->Close(std::move(end));
}

Usage Generation::MakeUsage() const {
  Usage usage;
  usage.prompt_tokens = static_cast<int32_t>(prompt_size());
  usage.generated_tokens = static_cast<int32_t>(generated_);
  usage.queue_seconds = queue_seconds();
  if (generated_ == 0) {
    usage.prefill_seconds = running_seconds();
    return usage;
  }
  usage.prefill_seconds = SecondsBetween(admitted_at_, first_token_at_);
  usage.time_to_first_token_seconds =
      SecondsBetween(submitted_, first_token_at_);
  usage.decode_seconds = SecondsBetween(first_token_at_, ended_at_);
  return usage;
}

}  // namespace chela
