#include "server/engine/turn.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "kernels/status_macros.h"
#include "server/engine/token_hash.h"

namespace chela {
namespace {

constexpr int32_t kMaxCount = std::numeric_limits<int32_t>::max();

int32_t SaturatingSum(int32_t a, int32_t b) {
  return static_cast<int32_t>(
      std::min<int64_t>(kMaxCount, static_cast<int64_t>(a) + b));
}

void AddCount(int32_t token, bool generated, int32_t times,
              std::vector<SamplerState::Count>& counts) {
  if (counts.empty() || counts.back().token != token) {
    counts.push_back({token, 0, 0});
  }
  int32_t& count =
      generated ? counts.back().generated : counts.back().in_prompt;
  count = SaturatingSum(count, times);
}

// Counts `tokens` too. O(counts + tokens log tokens).
void AddTokens(std::vector<int32_t> tokens, bool generated,
               SamplerState& state) {
  std::vector<SamplerState::Recent>& recent = state.recent;
  for (const int32_t token : tokens) recent.push_back({token, generated});
  if (recent.size() > kMaxRecentTokens) {
    recent.erase(recent.begin(), recent.end() - kMaxRecentTokens);
  }
  std::sort(tokens.begin(), tokens.end());
  std::vector<SamplerState::Count> counts;
  counts.reserve(state.counts.size() + tokens.size());
  auto earlier = state.counts.begin();
  for (const int32_t token : tokens) {
    while (earlier != state.counts.end() && earlier->token <= token) {
      counts.push_back(*earlier++);
    }
    AddCount(token, generated, 1, counts);
  }
  counts.insert(counts.end(), earlier, state.counts.end());
  state.counts = std::move(counts);
}

void CountAsPrompt(SamplerState& state) {
  for (SamplerState::Count& count : state.counts) {
    count.in_prompt =
        SaturatingSum(count.in_prompt, std::exchange(count.generated, 0));
  }
  for (SamplerState::Recent& recent : state.recent) recent.generated = false;
}

}  // namespace

bool StartsText(const GenerateJob& job, const Tokenizer& tokenizer) {
  const int32_t bos = tokenizer.bos_id();
  if (job.start == nullptr) {
    return job.prompt.size() == 1 && job.prompt[0] == bos;
  }
  return job.prompt.empty() && job.start->tokens() == 1 &&
         job.start->token_hash == HashTokens({&bos, 1});
}

Turn::Turn(const GenerateJob& job, const Tokenizer& tokenizer)
    : job_(job), tokenizer_(tokenizer) {
  const bool resumes = job.prompt.empty();
  if (job.start != nullptr) {
    prompt_end_ = job.start->tokens();
    prompt_hash_ = job.start->token_hash;
    prompt_sampler_ = job.start->sampler;
    if (resumes) {
      draws_ = job.start->sampler.draws;
      text_ = job.start->text;
    } else {
      CountAsPrompt(prompt_sampler_);
    }
  }
  prompt_end_ += static_cast<int64_t>(job.prompt.size());
  prompt_hash_ = HashTokens(job.prompt, prompt_hash_);
  AddTokens(job.prompt, /*generated=*/false, prompt_sampler_);
}

void Turn::Finish(std::span<const float> logits) {
  logits_.assign(logits.begin(), logits.end());
}

void Turn::Finish(std::span<const float> logits, const TextState& text) {
  Finish(logits);
  text_ = text;
}

bool Turn::Add(int32_t token, const TextStep& text) {
  fed_ = static_cast<int64_t>(drawn_.size());
  drawn_.push_back({token, text.cut, text.bytes});
  kept_ = fed_ + 1;
  if (!spare_.valid() || EndsBefore(fed_, text.undecided_from)) return false;
  // A stop may start in this token. If it starts in an earlier one, the state
  // before that one or an even earlier one is held: what is undecided only
  // ever moves forward.
  return fed_ == 0 || EndsBefore(fed_ - 1, text.undecided_from);
}

absl::Status Turn::Hold(const TextStep& text, std::span<const float> logits,
                        StatePool& pool, const StatePool::Slot& slot) {
  held_ = fed_;
  held_logits_.assign(logits.begin(), logits.end());
  held_text_ = text.before;
  return pool.Copy(slot, spare_);
}

bool Turn::EndsBefore(int64_t index, int64_t byte) const {
  const Drawn& one = drawn_[static_cast<size_t>(index)];
  // A cut character starts where its token's whole ones end.
  return one.bytes < byte || (one.bytes == byte && !one.cut);
}

absl::Status Turn::GoBack(int64_t stop_from, StatePool& pool,
                          const StatePool::Slot& slot) {
  const auto last = static_cast<int64_t>(drawn_.size()) - 1;
  kept_ = last;
  while (kept_ > 0 && !EndsBefore(kept_ - 1, stop_from)) --kept_;
  const int64_t kept_bytes = kept_ == 0 ? 0 : drawn_[kept_ - 1].bytes;
  dropped_bytes_ =
      static_cast<int32_t>(std::max<int64_t>(0, stop_from - kept_bytes));
  fed_ = held_;
  text_ = TextAfterHeld();
  logits_ = std::move(held_logits_);
  going_back_ = fed_ < kept_;
  // Else the slot holds just that: the last token was drawn, not fed.
  return fed_ < last ? pool.Copy(spare_, slot) : absl::OkStatus();
}

TextState Turn::TextAfterHeld() const {
  TextStream text({}, false, held_text_);
  for (int64_t i = held_; i < kept_; ++i) {
    text.Push(tokenizer_.TokenBytes(drawn_[i].token,
                                    i == 0 && StartsText(job_, tokenizer_)));
  }
  return text.State();
}

void Turn::Fed(std::span<const float> logits) {
  ++fed_;
  going_back_ = fed_ < kept_;
  if (!going_back_) Finish(logits);
}

SamplerState Turn::SamplerAfter() const {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < kept_; ++i) tokens.push_back(drawn_[i].token);
  SamplerState state = prompt_sampler_;
  state.seed = job_.sampling.seed;
  state.draws = draws_ + kept_;
  AddTokens(std::move(tokens), /*generated=*/true, state);
  return state;
}

absl::StatusOr<SequenceStatePtr> Turn::Save(StatePool& pool,
                                            const StatePool::Slot& slot) const {
  auto state = std::make_shared<SequenceState>();
  state->position = position();
  if (fed_ < kept_) state->pending = drawn_[fed_].token;
  state->sampler = SamplerAfter();
  state->token_hash = prompt_hash_;
  for (int64_t i = 0; i < kept_; ++i) {
    state->token_hash = HashTokens({&drawn_[i].token, 1}, state->token_hash);
  }
  state->logits = logits_;
  state->text = text_;
  state->state.resize(static_cast<size_t>(pool.slot_bytes()));
  CHELA_RETURN_IF_ERROR(pool.Save(slot, state->state));
  return SequenceStatePtr(std::move(state));
}

}  // namespace chela
