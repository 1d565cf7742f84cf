#ifndef CHELA_SERVER_ENGINE_TURN_H_
#define CHELA_SERVER_ENGINE_TURN_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/state_pool.h"
#include "models/text_stream.h"
#include "models/tokenizer.h"
#include "server/engine/request.h"
#include "server/engine/sequence_state.h"

namespace chela {

// Whether the first token of the answer is the first one of its text: a dummy
// prefix is dropped there.
bool StartsText(const GenerateJob& job, const Tokenizer& tokenizer);

// What pushing a token did to the text.
struct TextStep {
  TextState before;            // only where Turn::NeedsSpare
  TextState after;             // only of the last token
  int64_t bytes = 0;           // TextStream::text_bytes(), undecided_from()
  int64_t undecided_from = 0;  // and has_cut() after it
  bool cut = false;
};

// What a generation remembers so that its text can go on in a later request: a
// SequenceState of the prompt and the tokens up to some end.
//
// At a stop string that end lies before tokens whose state was overwritten
// long ago. So while the text may be the start of a stop string, a spare slot
// holds the state before the first token that may be a part of it: a copy made
// when that token is drawn, since the sequence's slot holds just the tokens
// before it. At the stop the copy is taken back and the few tokens between it
// and the end are fed again, as the decode steps that they were.
//
// Threads: made on any thread, afterwards owned by the engine's.
class Turn {
 public:
  // Reads the prompt. Both must outlive it.
  Turn(const GenerateJob& job, const Tokenizer& tokenizer);

  // Whether it needs a spare slot beside that of the sequence.
  static bool NeedsSpare(const GenerateJob& job) {
    return job.keep_state && !job.stop.empty() && !job.include_stop;
  }
  void SetSpare(StatePool::Slot spare) { spare_ = std::move(spare); }

  // A token was drawn. True if the text may later end before it: then Hold.
  bool Add(int32_t token, const TextStep& text);
  // Keeps `slot`, which holds all tokens before the last one that was added,
  // and the logits that it was drawn from.
  absl::Status Hold(const TextStep& text, std::span<const float> logits,
                    StatePool& pool, const StatePool::Slot& slot);

  // No more tokens: the last one was drawn from these logits, or the next one
  // would be if there is none. `text`: after it; of no token, what it was.
  void Finish(std::span<const float> logits);
  void Finish(std::span<const float> logits, const TextState& text);

  // Instead: the last token completed a stop string, which started at
  // `stop_from` of the text (TextStream::undecided_from): the end moves before
  // the token that it starts in. Afterwards the tokens that going_back() names
  // are to be fed to `slot`, one by one.
  absl::Status GoBack(int64_t stop_from, StatePool& pool,
                      const StatePool::Slot& slot);
  bool going_back() const { return going_back_; }
  const int32_t& next_token() const { return drawn_[fed_].token; }
  int64_t position() const { return prompt_end_ + fed_; }  // tokens in the slot
  bool at_last() const { return fed_ + 1 == kept_; }
  // next_token() was fed; if it was the last one, the logits after it.
  void Fed(std::span<const float> logits);
  // Bytes of text that were returned and stand in no token that was kept.
  int32_t dropped_bytes() const { return dropped_bytes_; }

  // The whole, of a slot that holds position() tokens.
  absl::StatusOr<SequenceStatePtr> Save(StatePool& pool,
                                        const StatePool::Slot& slot) const;

 private:
  struct Drawn {
    int32_t token = 0;
    bool cut = false;   // it ends inside a character
    int64_t bytes = 0;  // of text up to its end
  };

  bool EndsBefore(int64_t index, int64_t byte) const;
  TextState TextAfterHeld() const;
  SamplerState SamplerAfter() const;

  const GenerateJob& job_;
  const Tokenizer& tokenizer_;
  int64_t prompt_end_ = 0;
  uint64_t prompt_hash_ = 0;
  SamplerState prompt_sampler_;
  int64_t draws_ = 0;  // before this turn

  std::vector<Drawn> drawn_;
  int64_t kept_ = 0;  // of them
  int64_t fed_ = 0;   // of them; at the end one less than kept_, or all
  bool going_back_ = false;
  std::vector<float> logits_;  // that the next token is or was drawn from
  TextState text_;
  int32_t dropped_bytes_ = 0;

  // Invalid slot: none can be needed. held_ < 0: nothing is held.
  StatePool::Slot spare_;
  int64_t held_ = -1;  // tokens of this turn in it
  std::vector<float> held_logits_;
  TextState held_text_;
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_TURN_H_
