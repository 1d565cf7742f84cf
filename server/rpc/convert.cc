#include "server/rpc/convert.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/utf8.h"
#include "server/rpc/convert_sampling.h"
#include "server/rpc/convert_session.h"
#include "server/rpc/status.h"

namespace chela {
namespace {

constexpr int32_t kMaxPriority = 100;
constexpr int kMaxContinuations = 1024;

// Of echoed prompts in one answer.
constexpr int64_t kMaxEchoBytes = int64_t{64} << 20;

std::vector<int32_t> ReadIds(const v1::TokenIds& tokens,
                             const Tokenizer& tokenizer,
                             const std::string& path, FieldErrors& errors) {
  return CheckIds(tokens.ids(), std::numeric_limits<int32_t>::max(),
                  tokenizer.vocab_size(), path + ".ids", errors);
}

void CheckLength(int64_t tokens, int64_t limit, const std::string& path,
                 FieldErrors& errors) {
  if (tokens <= limit) return;
  errors.Add(path, absl::StrCat(tokens, " tokens; want at most ", limit));
}

int32_t CheckPriority(bool present, int32_t priority, FieldErrors& errors) {
  if (!present) return 0;
  if (priority < -kMaxPriority || priority > kMaxPriority) {
    errors.Add("priority", absl::StrCat(priority, "; want ", -kMaxPriority,
                                        " .. ", kMaxPriority));
  }
  return priority;
}

const std::string& CheckSalt(const std::string& salt, FieldErrors& errors) {
  if (salt.size() > kMaxCacheSaltBytes) {
    errors.Add("cache_salt", absl::StrCat(salt.size(), " bytes; want at most ",
                                          kMaxCacheSaltBytes));
  }
  return salt;
}

void ToCache(const v1::GenerateRequest& request, GenerateJob& job,
             FieldErrors& errors) {
  const auto size = static_cast<int64_t>(job.prompt.size());
  if (request.cache_at_size() > kMaxCachePoints) {
    errors.Add("cache_at",
               absl::StrCat(request.cache_at_size(), " points; want at most ",
                            kMaxCachePoints));
  } else {
    for (int i = 0; i < request.cache_at_size(); ++i) {
      const int64_t point = request.cache_at(i);
      if (point >= 1 && point <= size) continue;
      errors.Add(absl::StrCat("cache_at[", i, "]"),
                 absl::StrCat(point, "; want 1 .. ", size,
                              ", the tokens of the prompt"));
    }
  }
  job.cache_at.assign(request.cache_at().begin(), request.cache_at().end());
  job.cache_salt = CheckSalt(request.cache_salt(), errors);
  if (!request.has_cache_pin_seconds()) return;
  job.cache_pin = std::chrono::seconds(
      CheckRange("cache_pin_seconds", request.cache_pin_seconds(), 0,
                 static_cast<int32_t>(kMaxCachePin.count()), errors));
  if (request.cache_at_size() == 0) {
    errors.Add("cache_pin_seconds", "set; want it with cache_at only");
  }
}

std::vector<int32_t> ToPrompt(const v1::GenerateRequest& request,
                              const ConvertContext& context, bool continues,
                              FieldErrors& errors) {
  const Tokenizer& tokenizer = *context.tokenizer;
  switch (request.input_case()) {
    case v1::GenerateRequest::kPrompt: {
      std::vector<int32_t> tokens =
          continues ? tokenizer.EncodeContinuation(request.prompt())
                    : tokenizer.EncodePrompt(request.prompt());
      if (tokens.empty() && !continues) {
        errors.Add("prompt", "empty; want text, since the model adds no BOS");
      }
      CheckLength(static_cast<int64_t>(tokens.size()),
                  context.max_prompt_tokens, "prompt", errors);
      return tokens;
    }
    case v1::GenerateRequest::kPromptTokens:
      if (request.prompt_tokens().ids_size() == 0 && !continues) {
        errors.Add("prompt_tokens", "0 tokens; want at least 1");
      }
      CheckLength(request.prompt_tokens().ids_size(), context.max_prompt_tokens,
                  "prompt_tokens", errors);
      return ReadIds(request.prompt_tokens(), tokenizer, "prompt_tokens",
                     errors);
    case v1::GenerateRequest::INPUT_NOT_SET:
      break;
  }
  if (!continues) {
    errors.Add("prompt", "absent; want prompt or prompt_tokens");
  }
  return {};
}

// What a text that goes on does not have.
void CheckKept(const v1::SamplingParams& sampling, const GenerateJob& job,
               FieldErrors& errors) {
  constexpr const char* kWhere = " with a session, state or return_state";
  if (job.choices != 1) {
    errors.Add("sampling.n", absl::StrCat(job.choices, "; want 1", kWhere));
  }
  if (job.best_of != 1 && sampling.has_best_of()) {
    errors.Add("sampling.best_of",
               absl::StrCat(job.best_of, "; want 1", kWhere));
  }
  if (sampling.echo()) {
    errors.Add("sampling.echo", absl::StrCat("true; want false", kWhere));
  }
  if (job.sampling.penalty_window > kMaxRecentTokens) {
    errors.Add("sampling.penalty_window",
               absl::StrCat(job.sampling.penalty_window, "; want at most ",
                            kMaxRecentTokens, kWhere));
  }
}

}  // namespace

int64_t InputBytes(const v1::GenerateRequest& request) {
  const v1::SamplingParams& sampling = request.sampling();
  return static_cast<int64_t>(request.prompt().size()) +
         int64_t{4} * request.prompt_tokens().ids_size() +
         int64_t{4} * sampling.stop_token_ids_size() +
         int64_t{4} * sampling.allowed_token_ids_size() +
         int64_t{4} * sampling.banned_token_ids_size() +
         int64_t{8} * static_cast<int64_t>(sampling.logit_bias_size());
}

int64_t InputBytes(const v1::ScoreRequest& request) {
  int64_t bytes = static_cast<int64_t>(request.prefix().size()) +
                  int64_t{4} * request.prefix_tokens().ids_size();
  for (const v1::ScoreContinuation& one : request.continuations()) {
    bytes += static_cast<int64_t>(one.text().size()) +
             int64_t{4} * one.tokens().ids_size();
  }
  return bytes;
}

absl::StatusOr<GenerateJob> ToGenerateJob(const v1::GenerateRequest& request,
                                          const ConvertContext& context,
                                          const std::string& prefix,
                                          const TurnInput& turn) {
  FieldErrors errors(prefix);
  GenerateJob job;
  job.start = turn.start;
  job.keep_state = turn.keep_state;
  job.header.priority =
      CheckPriority(request.has_priority(), request.priority(), errors);
  if (request.user().size() > kMaxUserBytes) {
    errors.Add("user", absl::StrCat(request.user().size(),
                                    " bytes; want at most ", kMaxUserBytes));
  }
  CheckTurn(request, errors);
  job.prompt = ToPrompt(request, context, turn.start != nullptr, errors);
  ToCache(request, job, errors);
  ToSampling(request.sampling(), context, job, errors);
  if (turn.start != nullptr || turn.keep_state) {
    CheckKept(request.sampling(), job, errors);
  }
  if (!errors.empty()) return errors.ToStatus();
  return job;
}

absl::StatusOr<std::string> ToEcho(const v1::GenerateRequest& request,
                                   const GenerateJob& job,
                                   const Tokenizer& tokenizer,
                                   const std::string& prefix) {
  if (!request.sampling().echo()) return std::string();
  std::string text = request.prompt();
  if (request.has_prompt_tokens()) {
    const absl::StatusOr<std::string> bytes = tokenizer.Decode(job.prompt);
    if (!bytes.ok()) return bytes.status();
    text = ToValidUtf8(*bytes);
  }
  const auto size = static_cast<int64_t>(text.size());
  if (size * job.choices <= kMaxEchoBytes) return text;
  FieldErrors errors(prefix);
  errors.Add("sampling.echo",
             absl::StrCat(size, " bytes in each of ", job.choices,
                          " choices; want at most ", kMaxEchoBytes, " in all"));
  return errors.ToStatus();
}

absl::StatusOr<ScoreTokens> ToScoreTokens(const v1::ScoreRequest& request,
                                          const ConvertContext& context) {
  const Tokenizer& tokenizer = *context.tokenizer;
  FieldErrors errors;
  ScoreTokens out;
  out.priority =
      CheckPriority(request.has_priority(), request.priority(), errors);
  out.cache_salt = CheckSalt(request.cache_salt(), errors);
  const bool starts_text =
      !request.has_prefix_tokens() && request.prefix().empty();
  out.prefix =
      request.has_prefix_tokens()
          ? ReadIds(request.prefix_tokens(), tokenizer, "prefix_tokens", errors)
          : tokenizer.EncodePrompt(request.prefix());
  const int count = request.continuations_size();
  if (count < 1 || count > kMaxContinuations) {
    errors.Add("continuations",
               absl::StrCat(count, "; want 1 .. ", kMaxContinuations));
    return errors.ToStatus();
  }
  for (int i = 0; i < count; ++i) {
    const v1::ScoreContinuation& one = request.continuations(i);
    const std::string path = absl::StrCat("continuations[", i, "]");
    std::vector<int32_t> tokens;
    if (one.has_tokens()) {
      tokens = ReadIds(one.tokens(), tokenizer, path + ".tokens", errors);
    } else {
      tokens = starts_text ? tokenizer.Encode(one.text())
                           : tokenizer.EncodeContinuation(one.text());
    }
    if (one.has_tokens() ? one.tokens().ids_size() == 0 : tokens.empty()) {
      errors.Add(path, "0 tokens; want at least 1");
    }
    CheckLength(static_cast<int64_t>(out.prefix.size() + tokens.size()),
                context.max_prompt_tokens, path, errors);
    out.continuations.push_back(std::move(tokens));
  }
  if (!errors.empty()) return errors.ToStatus();
  return out;
}

absl::StatusOr<std::vector<int32_t>> ToTokens(const v1::TokenIds& tokens,
                                              const Tokenizer& tokenizer,
                                              const std::string& path) {
  FieldErrors errors;
  std::vector<int32_t> ids = ReadIds(tokens, tokenizer, path, errors);
  if (!errors.empty()) return errors.ToStatus();
  return ids;
}

}  // namespace chela
