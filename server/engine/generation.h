#ifndef CHELA_SERVER_ENGINE_GENERATION_H_
#define CHELA_SERVER_ENGINE_GENERATION_H_

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "models/candidates.h"
#include "models/tokenizer.h"
#include "server/engine/branch.h"
#include "server/engine/sequence.h"
#include "server/engine/token_stream.h"

namespace chela {

// A GenerateJob as a sequence: reads the prompt in chunks, once, then copies
// the state for each further branch and feeds each branch's sampled token until
// one of them ends it. All branches take part in the same steps. A last token
// is reported but never fed.
class Generation : public Sequence {
 public:
  // tokenizer and scratch, the memory of draws on the engine's thread, must
  // outlive it. The job is valid (CheckJob).
  Generation(GenerateJob job, const Tokenizer& tokenizer, Candidates& scratch,
             Metrics& metrics);

  int32_t slots(int32_t /*pool_slots*/) const override { return job_.best_of; }
  int64_t queued_tokens() const override { return prompt_size(); }
  bool cancelled() const override { return job_.stream->cancelled(); }
  Work NextWork() override;
  void AppendTo(StepPlan& plan) override;
  absl::Status Deliver(std::span<const float> logits) override;
  void Close() override;

 protected:
  absl::Status OnAdmit(StatePool& pool) override;
  void OnEnd() override;
  Clock::time_point cancelled_at() const override {
    return job_.stream->cancelled_at();
  }

 private:
  int64_t prompt_size() const {
    return static_cast<int64_t>(job_.prompt.size());
  }
  bool ranks() const { return job_.best_of > job_.choices; }
  int32_t RunningBranches() const;
  const StatePool::Slot& SlotOf(const Branch& branch) const {
    return branch.slot.valid() ? branch.slot : slot_;
  }

  // The prompt was read: a state and a sampler for each branch.
  absl::Status MakeBranches();
  // One row for each branch that ran, or the prompt's last for all of them.
  void SampleAll(std::span<const float> logits, bool first);
  // Gives its state back, if others run on.
  void ReleaseSlot(Branch& branch);
  void Emit(Branch& branch, GenerationDelta delta);
  void EmitPrompt(std::span<const float> logits, int32_t rows);
  void CountTokens(int64_t tokens, bool first);
  // Sends what was held back, the best first.
  void SendRanked();
  Usage MakeUsage() const;

  const GenerateJob job_;
  const Tokenizer& tokenizer_;
  StatePool* pool_ = nullptr;
  std::vector<StatePool::Slot> spare_slots_;  // until there are branches
  std::deque<Branch> branches_;               // the first one from the start
  int64_t position_ = 0;                      // tokens fed
  int64_t generated_ = 0;                     // tokens sampled, of all branches
  int32_t last_choice_ = 0;  // the one whose end ends the request
  ChoiceEnd last_end_;
  Clock::time_point first_token_at_;
  Clock::time_point last_token_at_;
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_GENERATION_H_
