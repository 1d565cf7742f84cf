#ifndef CHELA_SERVER_ENGINE_SCORE_H_
#define CHELA_SERVER_ENGINE_SCORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "server/engine/prefix_reader.h"
#include "server/engine/score_stream.h"
#include "server/engine/sequence.h"

namespace chela {

// A ScoreJob as a sequence, in either form: what both share.
class Score : public Sequence {
 public:
  bool cancelled() const override { return job_.stream->cancelled(); }
  void Close() override;

 protected:
  Score(ScoreJob job, int32_t vocab_size, Metrics& metrics);
  Clock::time_point cancelled_at() const override {
    return job_.stream->cancelled_at();
  }

  const ScoreStream& stream() const { return *job_.stream; }
  ScoreStream& stream() { return *job_.stream; }
  // Row `row` of logits [rows, vocab].
  std::span<const float> Row(std::span<const float> logits, int64_t row) const {
    return logits.subspan(row * vocab_size_, vocab_size_);
  }
  const std::string& cache_salt() const { return job_.cache_salt; }
  void CountRead(int64_t tokens);
  // Tokens that need not be read, and where their state was.
  void CountCached(int64_t tokens, CacheTier tier);
  void CountScored(double log_probability);

  const int32_t vocab_size_;
  // Candidates form: what is scored so far, else 0.
  std::vector<std::vector<float>> results_;

 private:
  const ScoreJob job_;
  ScoreStream::Totals totals_;
  int64_t cached_ = 0;
  CacheTier cached_tier_ = CacheTier::kNone;
};

// The candidates form. The prefix is read once into a slot, from the longest
// beginning that the prefix cache has; the continuations
// then run side by side, each in a lane of its own, on a copy of that state:
// one step takes as many of their chunks as fit into kChunkTokens rows. Where
// the pool has only one slot, a continuation runs over the prefix's state,
// which is read again for the next one. The last token of a continuation is
// never fed, so one of a single token costs nothing but the prefix.
class CandidateScore : public Score {
 public:
  // Lanes at most; never more than a quarter of the pool either, so that a
  // score does not wait for, or hold, most of it.
  static constexpr int32_t kMaxLanes = 16;

  CandidateScore(ScoreJob job, int32_t vocab_size, Metrics& metrics);

  bool Ready(PrefixCache& prefixes, Clock::time_point now) override;
  std::optional<Clock::time_point> waits_until() const override {
    return prefix_reader_.waits_until();
  }
  int32_t slots(int32_t pool_slots) const override;
  int64_t queued_tokens() const override;
  Work NextWork() override;
  void AppendTo(StepPlan& plan) override;
  absl::Status Deliver(const SequenceOutput& output) override;

 protected:
  absl::Status OnAdmit(const Place& place) override;
  void OnEnd() override;

 private:
  struct Lane {
    StatePool::Slot copy;  // of the prefix's state; invalid: runs in slot_
    bool busy = false;
    size_t continuation = 0;
    int64_t offset = 0;  // tokens of it that were fed
  };
  // A lane's part of the next step.
  struct Part {
    size_t lane = 0;
    int32_t rows = 0;
  };

  int64_t prefix_size() const {
    return static_cast<int64_t>(stream().prefix().size());
  }
  bool reading_prefix() const { return prefix_read_ < prefix_size(); }
  const std::vector<int32_t>& TokensOf(const Lane& lane) const {
    return stream().continuations()[lane.continuation];
  }
  std::vector<Part> NextParts() const;
  // Begins to read the prefix, perhaps again.
  absl::Status StartPrefix();
  // Gives the lane the next continuation that has tokens to feed, if any.
  absl::Status Fill(Lane& lane);
  absl::Status FillAll();
  absl::Status DeliverPrefix(std::span<const float> logits, int32_t rows);
  void DeliverPart(std::span<const float> logits, const Part& part);
  void ScoreFirstTokens(std::span<const float> logits);
  void EndIfDone();

  PrefixReader prefix_reader_;
  StatePool* pool_ = nullptr;
  std::vector<Lane> lanes_;
  bool prefix_intact_ = false;  // slot_ holds the state after the prefix
  bool first_tokens_scored_ = false;
  int64_t prefix_read_ = 0;
  size_t next_ = 0;  // continuation that no lane had yet
};

// The pieces form. Every token wants its logits, so nothing of it is looked up.
// A chunk runs once the token behind it is known too, which
// its last row predicts; so nothing but a chunk of tokens is kept. While it
// waits for input it holds its slot and takes part in no step.
class PieceScore : public Score {
 public:
  PieceScore(ScoreJob job, int32_t vocab_size, Metrics& metrics);

  int64_t queued_tokens() const override { return stream().backlog(); }
  Work NextWork() override;
  void AppendTo(StepPlan& plan) override;
  absl::Status Deliver(const SequenceOutput& output) override;

 protected:
  absl::Status OnAdmit(const Place& place) override;
  void OnEnd() override;

 private:
  // Takes what arrived, up to `size` tokens in buffer_.
  void FillUpTo(int64_t size);

  std::vector<int32_t> buffer_;  // taken, not yet fed
  int64_t position_ = 0;         // tokens fed
  Work work_;
};

std::unique_ptr<Sequence> MakeScore(ScoreJob job, int32_t vocab_size,
                                    Metrics& metrics);

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_SCORE_H_
