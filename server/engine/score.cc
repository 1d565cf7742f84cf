#include "server/engine/score.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace chela {

Score::Score(ScoreJob job, int32_t vocab_size, Metrics& metrics)
    : Sequence(job.header, metrics),
      vocab_size_(vocab_size),
      job_(std::move(job)) {}

void Score::CountRead(int64_t tokens) {
  totals_.tokens += tokens;
  metrics_.AddPromptTokens(tokens, 0);
}

void Score::CountCached(int64_t tokens, CacheTier tier) {
  cached_ = tokens;
  cached_tier_ = tier;
  totals_.tokens += tokens;
  metrics_.AddPromptTokens(tokens, tokens);
}

void Score::CountScored(double log_probability) {
  ++totals_.scored_tokens;
  totals_.log_probability += log_probability;
}

void Score::Close() {
  ScoreStream::End end;
  end.status = std::move(status_);  // not shared between threads
  end.totals = totals_;
  end.continuations = std::move(results_);
  end.usage.prompt_tokens = static_cast<int32_t>(
      std::min<int64_t>(totals_.tokens, std::numeric_limits<int32_t>::max()));
  end.usage.cached_prompt_tokens = static_cast<int32_t>(cached_);
  end.usage.cached_tier = cached_tier_;
  end.usage.queue_seconds = queue_seconds();
  end.usage.prefill_seconds = running_seconds();
  job_.stream->Close(std::move(end));
}

std::unique_ptr<Sequence> MakeScore(ScoreJob job, int32_t vocab_size,
                                    Metrics& metrics) {
  if (job.stream->in_pieces()) {
    return std::make_unique<PieceScore>(std::move(job), vocab_size, metrics);
  }
  return std::make_unique<CandidateScore>(std::move(job), vocab_size, metrics);
}

}  // namespace chela
