#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/model_config.h"
#include "models/sampler.h"
#include "server/engine/score.h"

namespace chela {

PieceScore::PieceScore(ScoreJob job, int32_t vocab_size, Metrics& metrics)
    : Score(std::move(job), vocab_size, metrics) {}

absl::Status PieceScore::OnAdmit(const Place& /*place*/) {
  return absl::OkStatus();
}

void PieceScore::FillUpTo(int64_t size) {
  const int64_t missing = size - static_cast<int64_t>(buffer_.size());
  if (missing <= 0) return;
  const std::vector<int32_t> taken = stream().Take(missing);
  for (const int32_t token : taken) {
    if (token >= 0 && token < vocab_size_) continue;
    End(FinishReason::kError,
        absl::InvalidArgumentError(absl::StrCat(
            "tokens: id ", token, "; want 0 to ", vocab_size_ - 1)));
    return;
  }
  CountRead(static_cast<int64_t>(taken.size()));
  buffer_.insert(buffer_.end(), taken.begin(), taken.end());
}

Work PieceScore::NextWork() {
  // Settled work stays as it is until it has run.
  if (work_.kind != WorkKind::kNothing) return work_;
  const int32_t whole = ChunkRows(position_, kChunkTokens);
  FillUpTo(int64_t{whole} + 1);
  if (ended()) return work_;
  const int32_t ready = static_cast<int32_t>(buffer_.size()) - 1;
  if (ready == whole || (ready > 0 && stream().finished())) {
    work_ = {WorkKind::kChunk, ready};
  } else if (ready <= 0 && stream().finished()) {
    End(FinishReason::kStop, absl::OkStatus());
  }
  return work_;
}

void PieceScore::AppendTo(StepPlan& plan) {
  AddSegment(plan, slot_, position_, std::span(buffer_).first(work_.rows),
             LogitsOf::kAllRows);
}

absl::Status PieceScore::Deliver(const SequenceOutput& output) {
  const std::span<const float> logits = output.Here();
  for (int32_t row = 0; row < work_.rows; ++row) {
    CountScored(LogProbability(Row(logits, row), buffer_[row + 1]));
  }
  buffer_.erase(buffer_.begin(), buffer_.begin() + work_.rows);
  position_ += work_.rows;
  work_ = Work();
  return absl::OkStatus();
}

void PieceScore::OnEnd() { buffer_ = {}; }

}  // namespace chela
