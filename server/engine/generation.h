#ifndef CHELA_SERVER_ENGINE_GENERATION_H_
#define CHELA_SERVER_ENGINE_GENERATION_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "models/tokenizer.h"
#include "server/engine/branch.h"
#include "server/engine/prefix_reader.h"
#include "server/engine/sequence.h"
#include "server/engine/token_stream.h"
#include "server/engine/turn.h"

namespace chela {

// A GenerateJob as a sequence: reads the prompt in chunks, once, then copies
// the state for each further branch and feeds each branch's sampled token until
// one of them ends it. All branches take part in the same steps. A last token
// is reported but never fed. A text that goes on starts from its state and
// reads its pending token alone, before the prompt (GenerateJob::start); after
// a stop string its kept state may have to go back (turn.h).
class Generation : public Sequence {
 public:
  // The tokenizer must outlive it. The job is valid (CheckJob).
  Generation(GenerateJob job, const Tokenizer& tokenizer, Metrics& metrics);

  int32_t slots(int32_t /*pool_slots*/) const override {
    return job_.best_of + (Turn::NeedsSpare(job_) ? 1 : 0);
  }
  int64_t queued_tokens() const override { return prompt_size(); }
  bool cancelled() const override { return job_.stream->cancelled(); }
  uint64_t beginning_hash() const override { return beginning_hash_; }
  bool Ready(PrefixCache& prefixes, Clock::time_point now) override;
  std::optional<Clock::time_point> waits_until() const override {
    return prefix_reader_.waits_until();
  }
  Work NextWork() override;
  void AppendTo(StepPlan& plan) override;
  absl::Status Deliver(const SequenceOutput& output) override;
  void Close() override;

 protected:
  absl::Status OnAdmit(const Place& place) override;
  void OnEnd() override;
  Clock::time_point cancelled_at() const override {
    return job_.stream->cancelled_at();
  }

 private:
  int64_t prompt_size() const {
    return static_cast<int64_t>(job_.prompt.size());
  }
  // Where the prompt starts and ends in the whole text.
  int64_t prompt_begin() const {
    return job_.start == nullptr ? 0 : job_.start->tokens();
  }
  int64_t prompt_end() const { return prompt_begin() + prompt_size(); }
  bool reading() const { return position_ < prompt_end(); }
  bool going_back() const { return turn_.has_value() && turn_->going_back(); }
  // What the next step reads of the pending token and the prompt.
  std::span<const int32_t> NextChunk() const;
  bool ranks() const { return job_.best_of > job_.choices; }
  int32_t RunningBranches() const;
  const StatePool::Slot& SlotOf(const Branch& branch) const {
    return branch.slot.valid() ? branch.slot : slot_;
  }

  // A text that begins here: what an earlier prompt has left need not be read.
  absl::Status StartFromPrefix();
  absl::Status DeliverChunk(const SequenceOutput& output);
  // The last row of the prompt: the branches and their first tokens.
  absl::Status EndPrompt(const SequenceOutput& last_row);
  // The prompt was read: a state and a sampler for each branch.
  absl::Status MakeBranches();
  // Has the backend draw the branch's token from the row that was added last,
  // if it can. That depends on the request alone, so that its tokens do not
  // depend on what runs beside it.
  void PlanDraw(const Branch& branch, StepPlan& plan) const;
  // One row for each branch that ran, or the prompt's last for all of them.
  absl::Status SampleAll(const SequenceOutput& output, bool first);
  // The branch's token of its row.
  absl::StatusOr<SampledToken> Draw(const Branch& branch,
                                    const SequenceOutput& output);
  // Of the only branch, whose state is kept.
  absl::Status RecordTurn(const Branch& branch, const SequenceOutput& output);
  // All branches have ended, and going back too.
  absl::Status Finish(FinishReason reason);
  // Gives its state back, if others run on.
  void ReleaseSlot(Branch& branch);
  void Emit(Branch& branch, GenerationDelta delta);
  // Tokens of the prompt from index `first` on, each with the row before it.
  void EmitPrompt(std::span<const float> logits, int64_t rows, int64_t first);
  void CountTokens(int64_t tokens, bool first);
  // Sends what was held back, the best first.
  void SendRanked();
  Usage MakeUsage() const;

  const GenerateJob job_;
  const Tokenizer& tokenizer_;
  const uint64_t beginning_hash_;
  ChelaModel* model_ = nullptr;
  PrefixReader prefix_reader_;
  StatePool* pool_ = nullptr;
  std::vector<StatePool::Slot> spare_slots_;  // until there are branches
  std::deque<Branch> branches_;               // the first one from the start
  std::optional<Turn> turn_;                  // if its state is kept
  SequenceStatePtr kept_;                     // at the end
  int64_t position_ = 0;                      // tokens fed
  int64_t cached_ = 0;       // of them, those whose state was found
  int64_t generated_ = 0;    // tokens sampled, of all branches
  int32_t last_choice_ = 0;  // the one whose end ends the request
  ChoiceEnd last_end_;
  Clock::time_point first_token_at_;
  Clock::time_point last_token_at_;
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_GENERATION_H_
