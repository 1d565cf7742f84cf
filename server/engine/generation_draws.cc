#include <utility>

#include "kernels/status_macros.h"
#include "server/engine/generation.h"

// How a generation gets its tokens: drawn by the backend where it can, from the
// logits here where it cannot.

namespace chela {

void Generation::PlanDraw(const Branch& branch, StepPlan& plan) const {
  if (!model_->draws_tokens()) return;
  const std::optional<DrawRule> rule =
      branch.sampler().RuleOf(branch.generated(), plan.draws);
  if (!rule.has_value()) return;
  plan.draws.rules.back() = *rule;
  const bool reported = branch.sampler().reports_logprobs() ||
                        (reading() && job_.prompt_logprobs >= 0);
  plan.draws.with_logits.back() = reported ? 1 : 0;
}

absl::StatusOr<SampledToken> Generation::Draw(const Branch& branch,
                                              const SequenceOutput& output) {
  const Sampler& sampler = branch.sampler();
  constexpr int32_t kHostDraws = -1;
  int32_t token = kHostDraws;
  // The prompt's last row was drawn for the first branch.
  if (branch.generated() > 0 || branch.index() == 0) {
    token = output.Token(0).value_or(kHostDraws);
  }
  if (token == kHostDraws && model_->draws_tokens()) {
    DrawPlan plan;
    const std::optional<DrawRule> rule =
        sampler.RuleOf(branch.generated(), plan);
    if (rule.has_value()) {
      plan.rules.push_back(*rule);
      const absl::StatusOr<int32_t> again = output.DrawAgain(0, plan);
      CHELA_RETURN_IF_ERROR(again.status());
      token = *again;
    }
  }
  if (token != kHostDraws && !sampler.reports_logprobs()) {
    return sampler.Report(token, {});
  }
  const absl::StatusOr<std::span<const float>> logits = output.Logits(0);
  CHELA_RETURN_IF_ERROR(logits.status());
  return token != kHostDraws ? sampler.Report(token, *logits)
                             : sampler.Sample(*logits, branch.generated());
}

absl::Status Generation::SampleAll(const SequenceOutput& output, bool first) {
  const int32_t running = RunningBranches();
  int32_t left = running;
  size_t row = 0;
  for (Branch& branch : branches_) {
    if (!branch.running()) continue;
    const SequenceOutput own = output.Row(row);
    if (!first) ++row;
    absl::StatusOr<SampledToken> token = Draw(branch, own);
    CHELA_RETURN_IF_ERROR(token.status());
    GenerationDelta delta = branch.Add(*std::move(token));
    if (turn_.has_value()) CHELA_RETURN_IF_ERROR(RecordTurn(branch, own));
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
  if (left > 0 || going_back()) return absl::OkStatus();
  return Finish(last_end_.reason);
}

absl::Status Generation::RecordTurn(const Branch& branch,
                                    const SequenceOutput& output) {
  const TextStep& text = branch.text_step();
  const bool hold = turn_->Add(branch.last_token(), text);
  if (!hold && branch.running()) return absl::OkStatus();
  const absl::StatusOr<std::span<const float>> logits = output.Logits(0);
  CHELA_RETURN_IF_ERROR(logits.status());
  if (hold) CHELA_RETURN_IF_ERROR(turn_->Hold(text, *logits, *pool_, slot_));
  if (branch.running()) return absl::OkStatus();
  if (Turn::NeedsSpare(job_) && !branch.end()->stop.empty()) {
    return turn_->GoBack(text.undecided_from, *pool_, slot_);
  }
  turn_->Finish(*logits, text.after);
  return absl::OkStatus();
}

}  // namespace chela
