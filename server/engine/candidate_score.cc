#include <algorithm>
#include <utility>

#include "kernels/status_macros.h"
#include "models/model_config.h"
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

bool CandidateScore::Ready(PrefixCache& prefixes, Clock::time_point now) {
  if (!prefix_reader_.has_cache()) {
    prefix_reader_ = PrefixReader(
        prefixes,
        {.salt = cache_salt(), .tokens = stream().prefix(), .cache_at = {}});
  }
  return prefix_reader_.Ready(now);
}

int32_t CandidateScore::slots(int32_t pool_slots) const {
  const auto& all = stream().continuations();
  const auto fed = std::count_if(all.begin(), all.end(), [](const auto& one) {
    return TokensToFeed(one) > 0;
  });
  // A lone continuation may run over the prefix's state.
  if (fed < 2) return 1;
  const int32_t most = std::clamp(pool_slots / 4, 1, kMaxLanes);
  const auto lanes = static_cast<int32_t>(std::min<int64_t>(fed, most));
  return prefix_size() == 0 ? lanes : std::min(1 + lanes, pool_slots);
}

int64_t CandidateScore::queued_tokens() const {
  int64_t tokens = prefix_size();
  for (const auto& one : stream().continuations()) {
    tokens += static_cast<int64_t>(one.size());
  }
  return tokens;
}

absl::Status CandidateScore::OnAdmit(const Place& place) {
  StatePool& pool = place.pool;
  pool_ = &pool;
  const int32_t claimed = slots(pool.num_slots());
  // Of the slots beside the prefix's own; that one, if it is not needed.
  lanes_.resize(prefix_size() > 0 && claimed > 1 ? claimed - 1 : claimed);
  for (size_t i = prefix_size() > 0 ? 0 : 1; claimed > 1 && i < lanes_.size();
       ++i) {
    absl::StatusOr<StatePool::Slot> slot = pool.Acquire();
    CHELA_RETURN_IF_ERROR(slot.status());
    lanes_[i].copy = *std::move(slot);
  }
  if (prefix_size() > 0) return StartPrefix();
  const auto& all = stream().continuations();
  CountRead(std::count_if(all.begin(), all.end(),
                          [](const auto& one) { return !one.empty(); }));
  return FillAll();
}

absl::Status CandidateScore::StartPrefix() {
  const absl::StatusOr<int64_t> cached = prefix_reader_.Start(slot_);
  CHELA_RETURN_IF_ERROR(cached.status());
  prefix_read_ = *cached;
  if (!first_tokens_scored_) CountCached(*cached, prefix_reader_.tier());
  // What is kept must hold nothing of the slot's last text.
  return *cached == 0 && prefix_reader_.keeps() ? pool_->Clear(slot_)
                                                : absl::OkStatus();
}

absl::Status CandidateScore::Fill(Lane& lane) {
  const auto& all = stream().continuations();
  while (next_ < all.size() && TokensToFeed(all[next_]) == 0) ++next_;
  lane.busy = next_ < all.size();
  if (!lane.busy) return absl::OkStatus();
  lane.continuation = next_++;
  lane.offset = 0;
  if (prefix_size() == 0) return absl::OkStatus();
  if (lane.copy.valid()) return pool_->Copy(slot_, lane.copy);
  const bool intact = std::exchange(prefix_intact_, false);
  return intact ? absl::OkStatus() : StartPrefix();
}

absl::Status CandidateScore::FillAll() {
  for (Lane& lane : lanes_) {
    if (!lane.busy) CHELA_RETURN_IF_ERROR(Fill(lane));
  }
  EndIfDone();
  return absl::OkStatus();
}

void CandidateScore::EndIfDone() {
  const bool busy = std::any_of(lanes_.begin(), lanes_.end(),
                                [](const Lane& lane) { return lane.busy; });
  if (!busy) End(FinishReason::kStop, absl::OkStatus());
}

std::vector<CandidateScore::Part> CandidateScore::NextParts() const {
  std::vector<Part> parts;
  int32_t left = static_cast<int32_t>(kChunkTokens);
  for (size_t i = 0; i < lanes_.size(); ++i) {
    const Lane& lane = lanes_[i];
    if (!lane.busy) continue;
    // Whole chunks only: where a text is split must not depend on the others.
    const int32_t rows = ChunkRows(prefix_size() + lane.offset,
                                   TokensToFeed(TokensOf(lane)) - lane.offset);
    if (rows > left) continue;
    left -= rows;
    parts.push_back({i, rows});
  }
  return parts;
}

Work CandidateScore::NextWork() {
  if (reading_prefix()) {
    return {WorkKind::kChunk,
            ChunkRows(prefix_read_, prefix_size() - prefix_read_)};
  }
  int32_t rows = 0;
  for (const Part& part : NextParts()) rows += part.rows;
  return {WorkKind::kChunk, rows};
}

void CandidateScore::AppendTo(StepPlan& plan) {
  if (reading_prefix()) {
    const int32_t rows = NextWork().rows;
    const bool last = prefix_read_ + rows == prefix_size();
    AddSegment(
        plan, slot_, prefix_read_,
        std::span(stream().prefix()).subspan(prefix_read_, rows),
        last && !first_tokens_scored_ ? LogitsOf::kLastRow : LogitsOf::kNone);
    return;
  }
  for (const Part& part : NextParts()) {
    const Lane& lane = lanes_[part.lane];
    AddSegment(plan, lane.copy.valid() ? lane.copy : slot_,
               prefix_size() + lane.offset,
               std::span(TokensOf(lane)).subspan(lane.offset, part.rows),
               LogitsOf::kAllRows);
  }
}

absl::Status CandidateScore::Deliver(const SequenceOutput& output) {
  std::span<const float> logits = output.Here();
  if (reading_prefix()) return DeliverPrefix(logits, NextWork().rows);
  for (const Part& part : NextParts()) {
    DeliverPart(logits, part);
    logits = logits.subspan(int64_t{part.rows} * vocab_size_);
  }
  return FillAll();
}

absl::Status CandidateScore::DeliverPrefix(std::span<const float> logits,
                                           int32_t rows) {
  if (!first_tokens_scored_) CountRead(rows);
  prefix_read_ += rows;
  CHELA_RETURN_IF_ERROR(prefix_reader_.Reached(prefix_read_, slot_));
  // Once read again, it serves the lane that asked for it.
  if (reading_prefix() || first_tokens_scored_) return absl::OkStatus();
  prefix_intact_ = true;
  ScoreFirstTokens(logits);
  return FillAll();
}

void CandidateScore::DeliverPart(std::span<const float> logits,
                                 const Part& part) {
  Lane& lane = lanes_[part.lane];
  const std::vector<int32_t>& tokens = TokensOf(lane);
  for (int32_t row = 0; row < part.rows; ++row) {
    const int64_t index = lane.offset + row + 1;
    const double scored = LogProbability(Row(logits, row), tokens[index]);
    results_[lane.continuation][index] = static_cast<float>(scored);
    CountScored(scored);
  }
  CountRead(part.rows);
  lane.offset += part.rows;
  lane.busy = lane.offset < TokensToFeed(tokens);
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

void CandidateScore::OnEnd() { lanes_.clear(); }

}  // namespace chela
