#include <algorithm>
#include <iterator>
#include <utility>

#include "server/engine/generation.h"

// What a generation tells its stream and the metrics.

namespace chela {

void Generation::Emit(Branch& branch, GenerationDelta delta) {
  if (!ranks()) {
    job_.stream->Push(std::move(delta));
    return;
  }
  branch.held.text += delta.text;
  std::move(delta.tokens.begin(), delta.tokens.end(),
            std::back_inserter(branch.held.tokens));
}

void Generation::EmitPrompt(std::span<const float> logits, int64_t rows,
                            int64_t first) {
  const size_t vocab = logits.size() / rows;
  GenerationDelta delta;
  if (first == 1 && job_.start == nullptr) {
    // Nothing comes before it: no probability, no alternatives.
    delta.prompt.push_back({.token = job_.prompt[0], .top = {}});
  }
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t next = first + row;
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
  end.state = std::move(kept_);
  job_.stream->Close(std::move(end));
}

Usage Generation::MakeUsage() const {
  Usage usage;
  usage.prompt_tokens = static_cast<int32_t>(prompt_size());
  usage.cached_prompt_tokens = static_cast<int32_t>(cached_);
  usage.cached_tier = prefix_reader_.tier();
  usage.pinned_tokens = static_cast<int32_t>(prefix_reader_.pinned());
  usage.generated_tokens = static_cast<int32_t>(generated_);
  if (turn_.has_value()) usage.dropped_bytes = turn_->dropped_bytes();
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
