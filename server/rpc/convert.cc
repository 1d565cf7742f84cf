#include "server/rpc/convert.h"

#include <algorithm>
#include <limits>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/status.h"

namespace chela {
namespace {

constexpr int32_t kDefaultMaxTokens = 256;
constexpr int kMaxStops = 16;
constexpr size_t kMaxStopBytes = 1024;
constexpr int32_t kMaxPriority = 100;
constexpr size_t kMaxUserBytes = 256;
constexpr int kMaxContinuations = 1024;

uint64_t RandomSeed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

// Reads ids; reports the first wrong one, with the number of wrong ones.
std::vector<int32_t> CheckIds(const v1::TokenIds& tokens,
                              const Tokenizer& tokenizer,
                              const std::string& path, FieldErrors& errors) {
  const int32_t vocab = tokenizer.vocab_size();
  int first_wrong = -1;
  int64_t wrong = 0;
  for (int i = 0; i < tokens.ids_size(); ++i) {
    if (tokens.ids(i) >= 0 && tokens.ids(i) < vocab) continue;
    if (wrong++ == 0) first_wrong = i;
  }
  if (wrong > 0) {
    errors.Add(absl::StrCat(path, ".ids[", first_wrong, "]"),
               absl::StrCat(tokens.ids(first_wrong), "; want 0 .. ", vocab - 1,
                            wrong > 1 ? absl::StrCat(" (", wrong - 1,
                                                     " more ids are wrong)")
                                      : ""));
    return {};
  }
  return {tokens.ids().begin(), tokens.ids().end()};
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

template <typename Number>
Number CheckRange(const std::string& path, Number value, Number low,
                  Number high, FieldErrors& errors) {
  if (!(value >= low && value <= high)) {  // Also refuses NaN.
    errors.Add(path, absl::StrCat(value, "; want ", low, " .. ", high));
  }
  return value;
}

SamplingParams ToSampling(const v1::SamplingParams& in,
                          const GenerationDefaults& defaults,
                          FieldErrors& errors) {
  SamplingParams out;
  out.temperature = defaults.temperature.value_or(out.temperature);
  out.top_k = defaults.top_k.value_or(out.top_k);
  out.top_p = defaults.top_p.value_or(out.top_p);
  if (in.has_temperature()) {
    out.temperature = CheckRange("sampling.temperature", in.temperature(), 0.0,
                                 100.0, errors);
  }
  if (in.has_top_k()) {
    out.top_k = in.top_k();
    if (out.top_k < 0) {
      errors.Add("sampling.top_k",
                 absl::StrCat(out.top_k, "; want at least 0 (0 = off)"));
    }
  }
  if (in.has_top_p()) {
    out.top_p = in.top_p();
    if (!(out.top_p > 0 && out.top_p <= 1)) {
      errors.Add("sampling.top_p",
                 absl::StrCat(out.top_p, "; want above 0 and at most 1"));
    }
  }
  if (in.has_logprobs()) {
    out.logprobs =
        CheckRange("sampling.logprobs", in.logprobs(), 0, kMaxLogprobs, errors);
  }
  out.seed = in.has_seed() ? in.seed() : RandomSeed();
  return out;
}

std::vector<std::string> ToStops(const v1::SamplingParams& in,
                                 FieldErrors& errors) {
  if (in.stop_size() > kMaxStops) {
    errors.Add(
        "sampling.stop",
        absl::StrCat(in.stop_size(), " strings; want at most ", kMaxStops));
    return {};
  }
  for (int i = 0; i < in.stop_size(); ++i) {
    const size_t bytes = in.stop(i).size();
    if (bytes == 0 || bytes > kMaxStopBytes) {
      errors.Add(absl::StrCat("sampling.stop[", i, "]"),
                 absl::StrCat(bytes, " bytes; want 1 .. ", kMaxStopBytes));
    }
  }
  return {in.stop().begin(), in.stop().end()};
}

int32_t ToMaxTokens(const v1::SamplingParams& in, const ConvertContext& context,
                    FieldErrors& errors) {
  if (!in.has_max_tokens()) {
    return std::min(context.defaults.max_tokens.value_or(kDefaultMaxTokens),
                    context.max_output_tokens);
  }
  return CheckRange("sampling.max_tokens", in.max_tokens(), 1,
                    context.max_output_tokens, errors);
}

std::vector<int32_t> ToPrompt(const v1::GenerateRequest& request,
                              const ConvertContext& context,
                              FieldErrors& errors) {
  const Tokenizer& tokenizer = *context.tokenizer;
  switch (request.input_case()) {
    case v1::GenerateRequest::kPrompt: {
      std::vector<int32_t> tokens = tokenizer.EncodePrompt(request.prompt());
      if (tokens.empty()) {
        errors.Add("prompt", "empty; want text, since the model adds no BOS");
      }
      CheckLength(static_cast<int64_t>(tokens.size()),
                  context.max_prompt_tokens, "prompt", errors);
      return tokens;
    }
    case v1::GenerateRequest::kPromptTokens:
      if (request.prompt_tokens().ids_size() == 0) {
        errors.Add("prompt_tokens", "0 tokens; want at least 1");
      }
      CheckLength(request.prompt_tokens().ids_size(), context.max_prompt_tokens,
                  "prompt_tokens", errors);
      return CheckIds(request.prompt_tokens(), tokenizer, "prompt_tokens",
                      errors);
    case v1::GenerateRequest::INPUT_NOT_SET:
      break;
  }
  errors.Add("prompt", "absent; want prompt or prompt_tokens");
  return {};
}

}  // namespace

int64_t InputBytes(const v1::GenerateRequest& request) {
  return static_cast<int64_t>(request.prompt().size()) +
         int64_t{4} * request.prompt_tokens().ids_size();
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
                                          const std::string& prefix) {
  FieldErrors errors(prefix);
  GenerateJob job;
  job.header.priority =
      CheckPriority(request.has_priority(), request.priority(), errors);
  if (request.user().size() > kMaxUserBytes) {
    errors.Add("user", absl::StrCat(request.user().size(),
                                    " bytes; want at most ", kMaxUserBytes));
  }
  job.max_tokens = ToMaxTokens(request.sampling(), context, errors);
  job.sampling = ToSampling(request.sampling(), context.defaults, errors);
  job.stop = ToStops(request.sampling(), errors);
  job.ignore_eos = request.sampling().ignore_eos();
  job.prompt = ToPrompt(request, context, errors);
  if (!errors.empty()) return errors.ToStatus();
  return job;
}

absl::StatusOr<ScoreTokens> ToScoreTokens(const v1::ScoreRequest& request,
                                          const ConvertContext& context) {
  const Tokenizer& tokenizer = *context.tokenizer;
  FieldErrors errors;
  ScoreTokens out;
  out.priority =
      CheckPriority(request.has_priority(), request.priority(), errors);
  const bool starts_text =
      !request.has_prefix_tokens() && request.prefix().empty();
  out.prefix = request.has_prefix_tokens()
                   ? CheckIds(request.prefix_tokens(), tokenizer,
                              "prefix_tokens", errors)
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
      tokens = CheckIds(one.tokens(), tokenizer, path + ".tokens", errors);
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
  std::vector<int32_t> ids = CheckIds(tokens, tokenizer, path, errors);
  if (!errors.empty()) return errors.ToStatus();
  return ids;
}

}  // namespace chela
