#include "server/engine/branch.h"

#include <algorithm>
#include <string>
#include <utility>

namespace chela {

Branch::Branch(const GenerateJob& job, const Tokenizer& tokenizer,
               int32_t index, Sampler sampler)
    : job_(job),
      tokenizer_(tokenizer),
      index_(index),
      sampler_(std::move(sampler)),
      text_(job.stop, job.include_stop,
            job.start != nullptr && job.prompt.empty() ? job.start->text
                                                       : TextState()) {}

GenerationDelta Branch::Add(SampledToken token) {
  last_token_ = token.token;
  sampler_.AddGenerated(last_token_);
  log_probability_ += token.logprob;
  const bool at_start = generated_ == 0 && StartsText(job_, tokenizer_);
  ++generated_;
  if (Turn::NeedsSpare(job_)) text_step_.before = text_.State();

  GenerationDelta delta;
  delta.choice = index_;
  delta.tokens.push_back(std::move(token));
  std::optional<FinishReason> reason = EndByToken(last_token_);
  const bool pushed =
      !reason.has_value() || (stop_token_.has_value() && job_.include_stop);
  if (pushed) {
    // Tokens that end a text are never among the first min_tokens.
    TextStream::Output output = text_.Push(
        tokenizer_.TokenBytes(last_token_, at_start),
        !reason.has_value() && generated_ > job_.sampling.min_tokens);
    delta.text = std::move(output.text);
    if (output.stop.has_value()) {
      stop_ = *std::move(output.stop);
      reason = FinishReason::kStop;
    }
  }
  if (!reason.has_value() && generated_ == job_.max_tokens) {
    reason = FinishReason::kLength;
  }
  if (job_.keep_state) {
    text_step_.bytes = text_.text_bytes();
    text_step_.undecided_from = text_.undecided_from();
    text_step_.cut = text_.has_cut();
    // A token that stands for no text of the answer ends the text before it.
    if (reason.has_value() && pushed) text_step_.after = text_.State();
  }
  if (reason.has_value()) {
    if (stop_.empty()) delta.text += text_.Finish();
    EndWith(*reason);
  }
  return delta;
}

std::optional<FinishReason> Branch::EndByToken(int32_t token) {
  if (!job_.ignore_eos && token == tokenizer_.eos_id()) {
    return FinishReason::kEos;
  }
  const auto& stops = job_.stop_tokens;
  if (std::find(stops.begin(), stops.end(), token) == stops.end()) {
    return std::nullopt;
  }
  stop_token_ = token;
  return FinishReason::kStop;
}

GenerationDelta Branch::Finish(FinishReason reason) {
  GenerationDelta rest;
  rest.choice = index_;
  rest.text = text_.Finish();
  EndWith(reason);
  return rest;
}

void Branch::EndWith(FinishReason reason) {
  ChoiceEnd end;
  end.reason = reason;
  end.stop = stop_;
  end.stop_token = stop_token_;
  end.truncated_bytes = static_cast<int32_t>(text_.truncated_bytes());
  if (job_.sampling.logprobs >= 0) end.log_probability = log_probability_;
  end_ = std::move(end);
}

double Branch::mean_log_probability() const {
  return generated_ == 0 ? 0 : log_probability_ / generated_;
}

}  // namespace chela
