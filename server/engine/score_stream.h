#ifndef CHELA_SERVER_ENGINE_SCORE_STREAM_H_
#define CHELA_SERVER_ENGINE_SCORE_STREAM_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "server/engine/request.h"
#include "server/engine/wake_signal.h"

namespace chela {

// Tokens to score and their log-probabilities. One of two forms:
//
// - candidates: a prefix and several continuations, each scored after a copy
//   of the prefix's state (Score);
// - a text in pieces: tokens appended as they come, each scored with its whole
//   past as context, in constant memory (ScoreStream). Of the first token of
//   all there is no log-probability: it has no context.
//
// Threads: thread-safe. The callback runs on a device's thread, without the
// lock, when the backlog fell below kBacklogTokens / 2 and at the end, and is
// dropped after Close; it must not block, and must not call Engine::Stop.
class ScoreStream {
 public:
  // Append more only while backlog() is below this.
  static constexpr int64_t kBacklogTokens = 16384;

  struct Totals {
    int64_t tokens = 0;          // read, BOS included
    int64_t scored_tokens = 0;   // with a log-probability
    double log_probability = 0;  // their sum, natural log
  };
  struct End {
    absl::Status status;  // OK, CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE ...
    Totals totals;
    // Candidates form: log-probabilities of each continuation's tokens.
    std::vector<std::vector<float>> continuations;
    Usage usage;
  };

  // The candidates form; all of it is known at the start. With an empty prefix
  // the first token of each continuation has no context and is not scored
  // (its entry is 0).
  ScoreStream(std::vector<int32_t> prefix,
              std::vector<std::vector<int32_t>> continuations);
  // The pieces form.
  ScoreStream();

  // RPC side.
  void SetCallback(std::function<void()> callback);  // before Submit
  void Append(std::vector<int32_t> tokens);          // pieces form
  void Finish();  // pieces form: no more Append
  int64_t backlog() const;
  std::optional<End> Result() const;  // set once the engine is done
  // The engine closes the stream with CANCELLED within one step. Of several
  // calls the first counts; without effect once the stream is closed.
  void Cancel();

  // Engine side.
  const std::vector<int32_t>& prefix() const { return prefix_; }
  const std::vector<std::vector<int32_t>>& continuations() const {
    return continuations_;
  }
  bool in_pieces() const { return in_pieces_; }
  // What Append, Finish and Cancel notify.
  void SetWake(std::shared_ptr<WakeSignal> wake);
  // Takes up to `limit` appended tokens.
  std::vector<int32_t> Take(int64_t limit);
  bool finished() const;  // Finish was called and all tokens were taken
  void Close(End end);    // exactly once
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }
  // When Cancel was called; only if cancelled().
  Clock::time_point cancelled_at() const;

 private:
  const std::vector<int32_t> prefix_;
  const std::vector<std::vector<int32_t>> continuations_;
  const bool in_pieces_;
  mutable std::mutex mutex_;
  std::vector<int32_t> pending_;
  bool finished_ = false;
  std::optional<End> end_;
  std::function<void()> callback_;
  std::shared_ptr<WakeSignal> wake_;
  Clock::time_point cancelled_at_;
  std::atomic<bool> cancelled_{false};  // read without the lock every step
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_SCORE_STREAM_H_
