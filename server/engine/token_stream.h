#ifndef CHELA_SERVER_ENGINE_TOKEN_STREAM_H_
#define CHELA_SERVER_ENGINE_TOKEN_STREAM_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "models/sampler.h"
#include "server/engine/request.h"
#include "server/engine/wake_signal.h"

namespace chela {

// How one choice ended.
struct ChoiceEnd {
  FinishReason reason = FinishReason::kError;
  std::string stop;                   // the stop string that matched, for kStop
  std::optional<int32_t> stop_token;  // the one of stop_tokens, for kStop
  int32_t truncated_bytes = 0;        // of a character cut off by the end
  // Sum over its tokens; if logprobs were asked for or choices are ranked.
  std::optional<double> log_probability;
};

// What the engine has produced of one choice since the last Pop: text that may
// be shown and the tokens behind it. A token may come before its text (held
// back for a stop string or an unfinished character).
struct GenerationDelta {
  int32_t choice = 0;  // in [0, choices)
  // Tokens of the prompt with the logprobs that were asked for: all of them,
  // before any generated token, and once (with choice 0).
  std::vector<SampledToken> prompt;
  std::string text;                  // valid UTF-8
  std::vector<SampledToken> tokens;  // logprobs as requested
  std::optional<ChoiceEnd> end;      // the choice's last delta; not of the
                                     // choice whose end ends the request
  bool empty() const {
    return prompt.empty() && text.empty() && tokens.empty() && !end.has_value();
  }
};

// The end of a request, which is that of its last choice. `status` is OK for
// kStop, kLength and kEos, CANCELLED for kCancelled, DEADLINE_EXCEEDED for
// kDeadline, and for kError what failed: UNAVAILABLE when the engine was
// stopped or lost its device.
struct GenerationEnd : ChoiceEnd {
  absl::Status status;
  int32_t choice = 0;
  Usage usage;  // of all choices; the prompt counts once
  // With GenerateJob::keep_state and an OK status: the prompt and the tokens,
  // the last one pending. At a stop string, which is text, the state ends with
  // the last token that ends before it (with include_stop: with the last one).
  SequenceStatePtr state;
};

// The only object that the engine and one generation RPC share: the engine
// pushes and closes once; the RPC pops and may cancel. What waits is bounded
// by the request's max_tokens, so a slow client never stalls the batch.
//
// Threads: thread-safe. The callback runs on a device's thread, without the
// lock, after each Push and Close, and is dropped after Close; it must not
// block, and must not call Engine::Stop.
class TokenStream {
 public:
  // RPC side. Set before Submit.
  void SetCallback(std::function<void()> callback);
  // Everything pushed of one choice, in order; tokens that the client was too
  // slow for are merged into one delta. The choice whose delta has waited
  // longest comes first. Empty if there is nothing.
  GenerationDelta Pop();
  // Set once the engine is done and Pop has returned everything.
  std::optional<GenerationEnd> End() const;
  // The engine closes the stream with kCancelled within one step. Of several
  // calls the first counts; without effect once the stream is closed.
  void Cancel();

  // Engine side.
  void SetWake(std::shared_ptr<WakeSignal> wake);  // what Cancel notifies
  void Push(GenerationDelta delta);
  void Close(GenerationEnd end);  // exactly once
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }
  // When Cancel was called; only if cancelled().
  Clock::time_point cancelled_at() const;

 private:
  mutable std::mutex mutex_;
  std::vector<GenerationDelta> pending_;  // one a choice that has news
  std::optional<GenerationEnd> end_;
  std::function<void()> callback_;
  std::shared_ptr<WakeSignal> wake_;
  Clock::time_point cancelled_at_;
  std::atomic<bool> cancelled_{false};  // read without the lock every step
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_TOKEN_STREAM_H_
