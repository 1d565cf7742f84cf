#include "server/engine/generation.h"

#include <utility>

namespace chela {

Generation::Generation(GenerateJob job, const Tokenizer& tokenizer,
                       Metrics& metrics)
    : Sequence(job.header, metrics),
      job_(std::move(job)),
      tokenizer_(tokenizer),
      sampler_(job_.sampling),
      text_(job_.stop) {}

absl::Status Generation::OnAdmit(StatePool& /*pool*/) {
  return absl::OkStatus();
}

Work Generation::NextWork() {
  if (position_ < prompt_size()) {
    return {WorkKind::kChunk, ChunkRows(position_, prompt_size() - position_)};
  }
  return {WorkKind::kDecode, 1};
}

void Generation::AppendTo(StepPlan& plan) {
  if (position_ >= prompt_size()) {
    AddSegment(plan, slot_, position_, {&last_token_, 1}, LogitsOf::kLastRow);
    return;
  }
  const int32_t rows = NextWork().rows;
  const bool last = position_ + rows == prompt_size();
  AddSegment(plan, slot_, position_,
             std::span(job_.prompt).subspan(position_, rows),
             last ? LogitsOf::kLastRow : LogitsOf::kNone);
}

absl::Status Generation::Deliver(std::span<const float> logits) {
  const Work work = NextWork();
  position_ += work.rows;
  if (work.kind == WorkKind::kChunk) metrics_.AddPromptTokens(work.rows, 0);
  if (position_ >= prompt_size()) SampleFrom(logits);
  return absl::OkStatus();
}

void Generation::SampleFrom(std::span<const float> logits) {
  SampledToken token = sampler_.Sample(logits, generated_);
  last_token_ = token.token;
  // A prompt of BOS alone has no text: the text starts with this token.
  const bool at_start = generated_ == 0 && prompt_size() == 1 &&
                        job_.prompt[0] == tokenizer_.bos_id();
  const bool eos = !job_.ignore_eos && last_token_ == tokenizer_.eos_id();
  CountToken();

  GenerationDelta delta;
  delta.tokens.push_back(std::move(token));
  bool stopped = false;
  if (!eos) {
    TextStream::Output output =
        text_.Push(tokenizer_.TokenBytes(last_token_, at_start));
    delta.text = std::move(output.text);
    stopped = output.stop.has_value();
    if (stopped) stop_ = *std::move(output.stop);
  }
  job_.stream->Push(std::move(delta));

  if (eos) {
    End(FinishReason::kEos, absl::OkStatus());
  } else if (stopped) {
    End(FinishReason::kStop, absl::OkStatus());
  } else if (generated_ == job_.max_tokens) {
    End(FinishReason::kLength, absl::OkStatus());
  }
}

void Generation::CountToken() {
  const Clock::time_point now = Clock::now();
  if (generated_ == 0) {
    first_token_at_ = now;
    metrics_.ObserveTimeToFirstToken(SecondsBetween(submitted_, now));
  } else {
    metrics_.ObserveInterTokenLatency(SecondsBetween(last_token_at_, now));
  }
  last_token_at_ = now;
  ++generated_;
  metrics_.AddGeneratedTokens(1);
}

void Generation::OnEnd() {
  if (reason_ != FinishReason::kStop) {
    GenerationDelta rest;
    rest.text = text_.Finish();
    job_.stream->Push(std::move(rest));
  }
  metrics_.GenerationFinished(Name(reason_));
}

void Generation::Close() {
  GenerationEnd end;
  end.status = status_;
  end.reason = reason_;
  end.stop = stop_;
  end.truncated_bytes = static_cast<int32_t>(text_.truncated_bytes());
  end.usage = MakeUsage();
  job_.stream->Close(std::move(end));
}

Usage Generation::MakeUsage() const {
  Usage usage;
  usage.prompt_tokens = static_cast<int32_t>(prompt_size());
  usage.generated_tokens = generated_;
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
