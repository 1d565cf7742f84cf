#include <algorithm>
#include <utility>

#include "kernels/status_macros.h"
#include "models/sampler.h"
#include "server/engine/score.h"

namespace chela {
namespace {

// Its last token is not fed: nothing depends on it.
int64_t TokensToFeed(const std::vector<int32_t>& continuation) {
  return std::max<int64_t>(static_cast<int64_t>(continuation.size()) - 1, 0);
}

}  // namespace

CandidateScore::CandidateScore(ScoreJob job, int32_t vocab_size,
                               Metrics& metrics)
    : Score(std::move(job), vocab_size, metrics) {
  for (const std::vector<int32_t>& tokens : stream().continuations()) {
    results_.emplace_back(tokens.size(), 0.0f);
  }
}

int32_t CandidateScore::slots(int32_t pool_slots) const {
  if (prefix_size() == 0) return 1;
  const auto& all = stream().continuations();
  const auto fed = std::count_if(all.begin(), all.end(), [](const auto& one) {
    return TokensToFeed(one) > 0;
  });
  return fed < 2 ? 1 : std::min(2, pool_slots);
}

int64_t CandidateScore::queued_tokens() const {
  int64_t tokens = prefix_size();
  for (const auto& one : stream().continuations()) {
    tokens += static_cast<int64_t>(one.size());
  }
  return tokens;
}

absl::Status CandidateScore::OnAdmit(StatePool& pool) {
  pool_ = &pool;
  if (slots(pool.num_slots()) == 2) {
    absl::StatusOr<StatePool::Slot> second = pool.Acquire();
    CHELA_RETURN_IF_ERROR(second.status());
    copy_ = *std::move(second);
  }
  if (prefix_size() > 0) return absl::OkStatus();
  const auto& all = stream().continuations();
  CountRead(std::count_if(all.begin(), all.end(),
                          [](const auto& one) { return !one.empty(); }));
  return BeginNext();
}

absl::Status CandidateScore::BeginNext() {
  const auto& all = stream().continuations();
  while (current_ < all.size() && TokensToFeed(all[current_]) == 0) ++current_;
  offset_ = 0;
  if (current_ == all.size()) {
    End(FinishReason::kStop, absl::OkStatus());
    return absl::OkStatus();
  }
  if (prefix_size() == 0) return absl::OkStatus();
  if (!prefix_intact_) {
    prefix_read_ = 0;
    return absl::OkStatus();
  }
  if (copy_.valid()) return pool_->Copy(slot_, copy_);
  prefix_intact_ = false;
  return absl::OkStatus();
}

Work CandidateScore::NextWork() {
  if (reading_prefix()) {
    return {WorkKind::kChunk,
            ChunkRows(prefix_read_, prefix_size() - prefix_read_)};
  }
  return {WorkKind::kChunk, ChunkRows(prefix_size() + offset_,
                                      TokensToFeed(continuation()) - offset_)};
}

void CandidateScore::AppendTo(StepPlan& plan) {
  const int32_t rows = NextWork().rows;
  if (reading_prefix()) {
    const bool last = prefix_read_ + rows == prefix_size();
    AddSegment(
        plan, slot_, prefix_read_,
        std::span(stream().prefix()).subspan(prefix_read_, rows),
        last && !first_tokens_scored_ ? LogitsOf::kLastRow : LogitsOf::kNone);
    return;
  }
  AddSegment(plan, copy_.valid() ? copy_ : slot_, prefix_size() + offset_,
             std::span(continuation()).subspan(offset_, rows),
             LogitsOf::kAllRows);
}

absl::Status CandidateScore::Deliver(std::span<const float> logits) {
  const int32_t rows = NextWork().rows;
  if (reading_prefix()) {
    if (!first_tokens_scored_) CountRead(rows);
    prefix_read_ += rows;
    if (reading_prefix()) return absl::OkStatus();
    prefix_intact_ = true;
    if (!first_tokens_scored_) ScoreFirstTokens(logits);
    return BeginNext();
  }
  for (int32_t row = 0; row < rows; ++row) {
    const int64_t index = offset_ + row + 1;
    const double scored =
        LogProbability(Row(logits, row), continuation()[index]);
    results_[current_][index] = static_cast<float>(scored);
    CountScored(scored);
  }
  CountRead(rows);
  offset_ += rows;
  if (offset_ < TokensToFeed(continuation())) return absl::OkStatus();
  ++current_;
  return BeginNext();
}

void CandidateScore::ScoreFirstTokens(std::span<const float> logits) {
  first_tokens_scored_ = true;
  const std::span<const float> row = Row(logits, 0);
  const auto& all = stream().continuations();
  // One pass over the vocabulary, however many continuations there are: the
  // others differ from token 0 by their logits.
  const double of_token_0 = LogProbability(row, 0);
  int64_t first_tokens = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].empty()) continue;
    const double scored =
        of_token_0 + (double{row[all[i][0]]} - double{row[0]});
    results_[i][0] = static_cast<float>(scored);
    CountScored(scored);
    ++first_tokens;
  }
  CountRead(first_tokens);
}

void CandidateScore::OnEnd() { copy_ = StatePool::Slot(); }

}  // namespace chela
