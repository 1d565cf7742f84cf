#ifndef CHELA_SERVER_ENGINE_BRANCH_H_
#define CHELA_SERVER_ENGINE_BRANCH_H_

#include <cstdint>
#include <optional>

#include "models/sampler.h"
#include "models/state_pool.h"
#include "models/text_stream.h"
#include "models/tokenizer.h"
#include "server/engine/request.h"
#include "server/engine/token_stream.h"
#include "server/engine/turn.h"

namespace chela {

// One continuation of a request's prompt: draws its tokens, turns them into
// text and notices where it ends. Token n of branch b is drawn with counter n
// of the generator's stream b, so what else runs has no say in it.
//
// Owned by its device's thread.
class Branch {
 public:
  // job and tokenizer must outlive it. `sampler` is that of branch `index`.
  Branch(const GenerateJob& job, const Tokenizer& tokenizer, int32_t index,
         Sampler sampler);

  // The next token was drawn; what it adds. Sets end(), if the token ends the
  // text; the delta then holds all that was left.
  GenerationDelta Add(SampledToken token);
  // Ends it from outside; the text that was held back.
  GenerationDelta Finish(FinishReason reason);

  int32_t index() const { return index_; }
  bool running() const { return !end_.has_value(); }
  const std::optional<ChoiceEnd>& end() const { return end_; }
  const Sampler& sampler() const { return sampler_; }
  // The last one sampled, which is not fed yet.
  const int32_t& last_token() const { return last_token_; }
  int32_t generated() const { return generated_; }
  // Sum and mean over its tokens; 0 without any. Only if the sampler reports.
  double log_probability() const { return log_probability_; }
  double mean_log_probability() const;
  // Of the last one sampled; only if the job keeps its state.
  const TextStep& text_step() const { return text_step_; }

  // Its own state. Invalid for the branch that goes on in the prompt's.
  StatePool::Slot slot;
  // Kept back until the choices are ranked.
  GenerationDelta held;

 private:
  // How this token ends the text apart from its text, if it does.
  std::optional<FinishReason> EndByToken(int32_t token);
  void EndWith(FinishReason reason);

  const GenerateJob& job_;
  const Tokenizer& tokenizer_;
  const int32_t index_;
  Sampler sampler_;
  TextStream text_;
  TextStep text_step_;
  int32_t last_token_ = 0;
  int32_t generated_ = 0;
  double log_probability_ = 0;
  std::string stop_;
  std::optional<int32_t> stop_token_;
  std::optional<ChoiceEnd> end_;
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_BRANCH_H_
