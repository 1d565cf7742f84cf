#include "server/engine/check_job.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "server/engine/score_stream.h"

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

absl::Status CheckSampling(const SamplingParams& params) {
  // Written so that NaN fails.
  if (!(params.temperature >= 0 && params.temperature <= 100)) {
    return absl::InvalidArgumentError(
        absl::StrCat("temperature: ", params.temperature, "; want 0 to 100"));
  }
  if (params.top_k < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("top_k: ", params.top_k, "; want at least 0"));
  }
  if (!(params.top_p > 0 && params.top_p <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "top_p: ", params.top_p, "; want more than 0 and at most 1"));
  }
  if (params.logprobs < -1 || params.logprobs > kMaxLogprobs) {
    return absl::InvalidArgumentError(absl::StrCat(
        "logprobs: ", params.logprobs, "; want -1 to ", kMaxLogprobs));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckJob(const GenerateJob& job, const EngineLimits& limits,
                      int32_t vocab_size) {
  if (job.stream == nullptr) {
    return absl::InvalidArgumentError("stream: none; want a TokenStream");
  }
  if (job.prompt.empty()) {
    return absl::InvalidArgumentError("prompt: 0 tokens; want at least 1");
  }
  CHELA_RETURN_IF_ERROR(
      CheckTokens("prompt", job.prompt, limits.max_prompt_tokens, vocab_size));
  if (job.max_tokens < 1 || job.max_tokens > limits.max_output_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_tokens: ", job.max_tokens, "; want 1 to ",
                     limits.max_output_tokens));
  }
  for (size_t i = 0; i < job.stop.size(); ++i) {
    if (!job.stop[i].empty()) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "stop[", i, "]: an empty string; want at least one character"));
  }
  return CheckSampling(job.sampling);
}

absl::Status CheckJob(const ScoreJob& job, const EngineLimits& limits,
                      int32_t vocab_size) {
  if (job.stream == nullptr) {
    return absl::InvalidArgumentError("stream: none; want a ScoreStream");
  }
  if (job.stream->in_pieces()) return absl::OkStatus();
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
