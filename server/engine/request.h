#ifndef CHELA_SERVER_ENGINE_REQUEST_H_
#define CHELA_SERVER_ENGINE_REQUEST_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/sampler.h"
#include "server/engine/sequence_state.h"

namespace chela {

using Clock = std::chrono::steady_clock;

// Why a generation ended. Lower case in JSON and metrics.
enum class FinishReason { kStop, kLength, kEos, kCancelled, kDeadline, kError };
const char* Name(FinishReason reason);  // "stop", "length", ...

// Where the state was that a prompt went on from.
enum class CacheTier { kNone, kDevice, kHost, kDisk };
const char* Name(CacheTier tier);  // "none", "device", ...

class TokenStream;
class ScoreStream;

// Below any step's rows, so that all of them always fit into one.
inline constexpr int32_t kMaxChoices = 128;

inline constexpr int32_t kMaxCachePoints = 16;
inline constexpr int32_t kMaxCacheSaltBytes = 256;
inline constexpr std::chrono::seconds kMaxCachePin{86400};

// What every request to the engine carries.
struct RequestHeader {
  std::string id;        // for logs; never empty
  int32_t priority = 0;  // higher runs first; equal: first come
  std::optional<Clock::time_point> deadline;
};

// One generation: a prompt, continued until a stop, a length, EOS, a cancel
// or the deadline.
struct GenerateJob {
  RequestHeader header;
  // The text that goes on, if any. Its pending token is fed alone, then the
  // prompt. With a prompt a new turn begins: all earlier tokens count as prompt
  // and draws from 0. Without, the earlier turn resumes: its draw counter,
  // penalties and unfinished character go on.
  SequenceStatePtr start;
  // GenerationEnd::state, at a stop, a length or EOS. Only with best_of 1 and a
  // penalty_window of at most kMaxRecentTokens.
  bool keep_state = false;
  std::vector<int32_t> prompt;    // BOS included; empty only after `start`
  int32_t max_tokens = 256;       // >= 1; with keep_state >= 0
  SamplingParams sampling;        // its end_tokens are set by the engine
  std::vector<std::string> stop;  // non-empty strings
  std::vector<int32_t> stop_tokens;
  bool include_stop = false;  // the stop is part of the text
  bool ignore_eos = false;
  int32_t prompt_logprobs = -1;  // as SamplingParams::logprobs, of the prompt
  // Of `best_of` continuations of the one prompt, the `choices` most likely
  // (by the mean log-probability of their tokens) are returned; all of them,
  // as they come, if both are equal. 1 <= choices <= best_of <= kMaxChoices.
  int32_t choices = 1;
  int32_t best_of = 1;
  // For the prefix cache: requests of different salts share no state, and
  // beginnings of the prompt (in tokens, 1 .. its size) that others share.
  std::string cache_salt;
  std::vector<int64_t> cache_at;
  // The states there are kept for so long, at most kMaxCachePin; 0: earlier
  // pins end.
  std::optional<std::chrono::seconds> cache_pin = std::nullopt;
  // Where results go; shared by engine and RPC.
  std::shared_ptr<TokenStream> stream;
};

// Log-probabilities of continuations after one shared prefix, or of one long
// text that arrives in pieces: see score_stream.h. `prefix` is read once; each
// entry that the RPC pushes is scored after it.
struct ScoreJob {
  RequestHeader header;
  std::string cache_salt;  // as GenerateJob's, for the prefix
  std::shared_ptr<ScoreStream> stream;
};

// Durations are zero where a phase was not reached.
struct Usage {
  int32_t prompt_tokens = 0;
  int32_t cached_prompt_tokens = 0;
  CacheTier cached_tier = CacheTier::kNone;  // where they came from
  int32_t pinned_tokens = 0;  // the longest beginning that cache_pin pinned
  int32_t generated_tokens = 0;
  // At a stop string: the end of the returned text that GenerationEnd::state
  // lacks, since its token goes on with the stop.
  int32_t dropped_bytes = 0;
  double queue_seconds = 0;
  double prefill_seconds = 0;
  double time_to_first_token_seconds = 0;
  double decode_seconds = 0;
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_REQUEST_H_
