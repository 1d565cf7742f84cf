#include "server/engine/check_job.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "server/engine/score_stream.h"
#include "server/engine/turn.h"

namespace chela {
namespace {

absl::Status CheckTokens(const std::string& field,
                         const std::vector<int32_t>& tokens, int64_t limit,
                         int32_t vocab_size) {
  if (static_cast<int64_t>(tokens.size()) > limit) {
    return absl::InvalidArgumentError(absl::StrCat(
        field, ": ", tokens.size(), " tokens; want at most ", limit));
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= 0 && tokens[i] < vocab_size) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(field, "[", i, "]: token id ", tokens[i], "; want 0 to ",
                     vocab_size - 1));
  }
  return absl::OkStatus();
}

// Written so that NaN fails. `open_min`: `min` itself is refused.
absl::Status CheckRange(const char* field, double value, double min, double max,
                        bool open_min = false) {
  if (value <= max && (open_min ? value > min : value >= min)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": ", value, "; want ", open_min ? "more than " : "",
                   min, open_min ? " and at most " : " to ", max));
}

absl::Status CheckSampling(const SamplingParams& params, int32_t vocab_size) {
  constexpr double kAny = std::numeric_limits<int32_t>::max();
  for (const absl::Status& status :
       {CheckRange("temperature", params.temperature, 0, 100),
        CheckRange("top_k", params.top_k, 0, kAny),
        CheckRange("top_p", params.top_p, 0, 1, true),
        CheckRange("min_p", params.min_p, 0, 1),
        CheckRange("typical_p", params.typical_p, 0, 1, true),
        CheckRange("repetition_penalty", params.repetition_penalty, 0, 100,
                   true),
        CheckRange("presence_penalty", params.presence_penalty, -2, 2),
        CheckRange("frequency_penalty", params.frequency_penalty, -2, 2),
        CheckRange("penalty_window", params.penalty_window, 0, kAny),
        CheckRange("min_tokens", params.min_tokens, 0, kAny),
        CheckRange("logprobs", params.logprobs, -1, kMaxLogprobs),
        CheckTokens("allowed_tokens", params.allowed_tokens, vocab_size,
                    vocab_size),
        CheckTokens("banned_tokens", params.banned_tokens, vocab_size,
                    vocab_size)}) {
    CHELA_RETURN_IF_ERROR(status);
  }
  for (const TokenBias& one : params.logit_bias) {
    CHELA_RETURN_IF_ERROR(
        CheckTokens("logit_bias", {one.token}, 1, vocab_size));
    CHELA_RETURN_IF_ERROR(CheckRange("logit_bias", one.bias, -100, 100));
  }
  return absl::OkStatus();
}

absl::Status CheckChoices(const GenerateJob& job, int32_t slots) {
  const int32_t most = std::min(slots, kMaxChoices);
  CHELA_RETURN_IF_ERROR(CheckRange("best_of", job.best_of, 1, most));
  return CheckRange("n", job.choices, 1, job.best_of);
}

absl::Status CheckSalt(const std::string& salt) {
  if (salt.size() <= kMaxCacheSaltBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("cache_salt: ", salt.size(),
                                                 " bytes; want at most ",
                                                 kMaxCacheSaltBytes));
}

absl::Status CheckCache(const GenerateJob& job) {
  CHELA_RETURN_IF_ERROR(CheckSalt(job.cache_salt));
  if (job.cache_at.size() > kMaxCachePoints) {
    return absl::InvalidArgumentError(
        absl::StrCat("cache_at: ", job.cache_at.size(),
                     " points; want at most ", kMaxCachePoints));
  }
  const auto size = static_cast<int64_t>(job.prompt.size());
  for (size_t i = 0; i < job.cache_at.size(); ++i) {
    if (job.cache_at[i] >= 1 && job.cache_at[i] <= size) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("cache_at[", i, "]: ", job.cache_at[i], "; want 1 to ",
                     size, ", the tokens of the prompt"));
  }
  const auto pin = job.cache_pin.value_or(std::chrono::seconds(0));
  if (pin.count() >= 0 && pin <= kMaxCachePin) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("cache_pin: ", pin.count(),
                                                 " s; want 0 to ",
                                                 kMaxCachePin.count(), " s"));
}

constexpr int64_t kMaxPosition = int64_t{1} << 62;

// What a text that goes on, before or after this job, asks for.
absl::Status CheckTurn(const GenerateJob& job, int32_t vocab_size,
                       int32_t slots, int64_t slot_bytes) {
  if (job.start == nullptr && !job.keep_state) return absl::OkStatus();
  if (job.best_of != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "best_of: ", job.best_of, "; want 1 for a text that goes on"));
  }
  CHELA_RETURN_IF_ERROR(CheckRange(
      "penalty_window", job.sampling.penalty_window, 0, kMaxRecentTokens));
  if (Turn::NeedsSpare(job) && slots < 2) {
    return absl::InvalidArgumentError(absl::StrCat(
        "stop: ", job.stop.size(),
        " stop strings need a second state to go "
        "back to; want none, include_stop, or a server with more than ",
        slots, " state"));
  }
  if (job.start == nullptr) return absl::OkStatus();
  const SequenceState& start = *job.start;
  if (static_cast<int64_t>(start.state.size()) != slot_bytes ||
      start.logits.size() != static_cast<size_t>(vocab_size) ||
      start.position < 1 || start.position > kMaxPosition) {
    return absl::InvalidArgumentError(absl::StrCat(
        "start: ", start.state.size(), " bytes, ", start.logits.size(),
        " logits, ", start.position, " tokens; want ", slot_bytes, " bytes, ",
        vocab_size, " logits and 1 to 2^62 tokens"));
  }
  std::vector<int32_t> tokens;
  if (start.pending.has_value()) tokens.push_back(*start.pending);
  for (const auto& count : start.sampler.counts) tokens.push_back(count.token);
  for (const auto& one : start.sampler.recent) tokens.push_back(one.token);
  return CheckTokens("start.tokens", tokens,
                     std::numeric_limits<int64_t>::max(), vocab_size);
}

}  // namespace

absl::Status CheckJob(const GenerateJob& job, const EngineLimits& limits,
                      int32_t vocab_size, int32_t slots, int64_t slot_bytes) {
  if (job.stream == nullptr) {
    return absl::InvalidArgumentError("stream: none; want a TokenStream");
  }
  if (job.prompt.empty() && job.start == nullptr) {
    return absl::InvalidArgumentError("prompt: 0 tokens; want at least 1");
  }
  CHELA_RETURN_IF_ERROR(
      CheckTokens("prompt", job.prompt, limits.max_prompt_tokens, vocab_size));
  const int32_t least = job.keep_state ? 0 : 1;
  if (job.max_tokens < least || job.max_tokens > limits.max_output_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_tokens: ", job.max_tokens, "; want ", least, " to ",
                     limits.max_output_tokens));
  }
  for (size_t i = 0; i < job.stop.size(); ++i) {
    if (!job.stop[i].empty()) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "stop[", i, "]: an empty string; want at least one character"));
  }
  CHELA_RETURN_IF_ERROR(
      CheckTokens("stop_tokens", job.stop_tokens, vocab_size, vocab_size));
  CHELA_RETURN_IF_ERROR(
      CheckRange("prompt_logprobs", job.prompt_logprobs, -1, kMaxLogprobs));
  CHELA_RETURN_IF_ERROR(CheckChoices(job, slots));
  CHELA_RETURN_IF_ERROR(CheckCache(job));
  CHELA_RETURN_IF_ERROR(CheckTurn(job, vocab_size, slots, slot_bytes));
  return CheckSampling(job.sampling, vocab_size);
}

absl::Status CheckJob(const ScoreJob& job, const EngineLimits& limits,
                      int32_t vocab_size) {
  if (job.stream == nullptr) {
    return absl::InvalidArgumentError("stream: none; want a ScoreStream");
  }
  if (job.stream->in_pieces()) return absl::OkStatus();
  CHELA_RETURN_IF_ERROR(CheckSalt(job.cache_salt));
  CHELA_RETURN_IF_ERROR(CheckTokens("prefix", job.stream->prefix(),
                                    limits.max_prompt_tokens, vocab_size));
  const auto& continuations = job.stream->continuations();
  for (size_t i = 0; i < continuations.size(); ++i) {
    CHELA_RETURN_IF_ERROR(CheckTokens(absl::StrCat("continuations[", i, "]"),
                                      continuations[i],
                                      limits.max_prompt_tokens, vocab_size));
  }
  return absl::OkStatus();
}

}  // namespace chela
