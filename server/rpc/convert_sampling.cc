#include "server/rpc/convert_sampling.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/container/flat_hash_set.h"

namespace chela {
namespace {

constexpr int32_t kDefaultMaxTokens = 256;
constexpr int kMaxStops = 16;
constexpr size_t kMaxStopBytes = 1024;
// Of log-probabilities of a prompt: some 30 MB of answer.
constexpr int64_t kMaxPromptLogprobs = 1048576;

uint64_t RandomSeed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

// A share of (0, 1].
double CheckShare(const std::string& path, double value, FieldErrors& errors) {
  if (!(value > 0 && value <= 1)) {
    errors.Add(path, absl::StrCat(value, "; want above 0 and at most 1"));
  }
  return value;
}

void ToDistribution(const v1::SamplingParams& in,
                    const GenerationDefaults& defaults, SamplingParams& out,
                    FieldErrors& errors) {
  out.temperature = defaults.temperature.value_or(out.temperature);
  out.top_k = defaults.top_k.value_or(out.top_k);
  out.top_p = defaults.top_p.value_or(out.top_p);
  out.min_p = defaults.min_p.value_or(out.min_p);
  out.typical_p = defaults.typical_p.value_or(out.typical_p);
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
    out.top_p = CheckShare("sampling.top_p", in.top_p(), errors);
  }
  if (in.has_min_p()) {
    out.min_p = CheckRange("sampling.min_p", in.min_p(), 0.0, 1.0, errors);
  }
  if (in.has_typical_p()) {
    out.typical_p = CheckShare("sampling.typical_p", in.typical_p(), errors);
  }
}

void ToPenalties(const v1::SamplingParams& in,
                 const GenerationDefaults& defaults, SamplingParams& out,
                 FieldErrors& errors) {
  out.repetition_penalty =
      defaults.repetition_penalty.value_or(out.repetition_penalty);
  out.presence_penalty =
      defaults.presence_penalty.value_or(out.presence_penalty);
  out.frequency_penalty =
      defaults.frequency_penalty.value_or(out.frequency_penalty);
  out.penalty_window = defaults.penalty_window.value_or(out.penalty_window);
  if (in.has_repetition_penalty()) {
    out.repetition_penalty = in.repetition_penalty();
    if (!(out.repetition_penalty > 0 && out.repetition_penalty <= 100)) {
      errors.Add("sampling.repetition_penalty",
                 absl::StrCat(out.repetition_penalty,
                              "; want above 0 and at most 100 (1 = off)"));
    }
  }
  if (in.has_presence_penalty()) {
    out.presence_penalty = CheckRange("sampling.presence_penalty",
                                      in.presence_penalty(), -2.0, 2.0, errors);
  }
  if (in.has_frequency_penalty()) {
    out.frequency_penalty =
        CheckRange("sampling.frequency_penalty", in.frequency_penalty(), -2.0,
                   2.0, errors);
  }
  if (in.has_penalty_window()) {
    out.penalty_window = in.penalty_window();
    if (out.penalty_window < 1) {
      errors.Add("sampling.penalty_window",
                 absl::StrCat(out.penalty_window,
                              "; want at least 1 (absent = the whole text)"));
    }
  }
}

// max_tokens and min_tokens. A default gives way to what the request says.
void ToLengths(const v1::SamplingParams& in, const ConvertContext& context,
               GenerateJob& job, FieldErrors& errors) {
  job.max_tokens =
      in.has_max_tokens()
          ? CheckRange("sampling.max_tokens", in.max_tokens(),
                       job.keep_state ? 0 : 1, context.max_output_tokens,
                       errors)
          : std::min(context.defaults.max_tokens.value_or(kDefaultMaxTokens),
                     context.max_output_tokens);
  if (!in.has_min_tokens()) {
    job.sampling.min_tokens =
        std::min(context.defaults.min_tokens.value_or(0), job.max_tokens);
    return;
  }
  job.sampling.min_tokens = in.min_tokens();
  if (in.min_tokens() < 0 || in.min_tokens() > std::max(job.max_tokens, 0)) {
    errors.Add("sampling.min_tokens",
               absl::StrCat(in.min_tokens(),
                            "; want 0 .. max_tokens = ", job.max_tokens));
  }
}

void ToStops(const v1::SamplingParams& in, int32_t vocab_size, GenerateJob& job,
             FieldErrors& errors) {
  if (in.stop_size() > kMaxStops) {
    errors.Add(
        "sampling.stop",
        absl::StrCat(in.stop_size(), " strings; want at most ", kMaxStops));
  } else {
    for (int i = 0; i < in.stop_size(); ++i) {
      const size_t bytes = in.stop(i).size();
      if (bytes == 0 || bytes > kMaxStopBytes) {
        errors.Add(absl::StrCat("sampling.stop[", i, "]"),
                   absl::StrCat(bytes, " bytes; want 1 .. ", kMaxStopBytes));
      }
    }
    job.stop = {in.stop().begin(), in.stop().end()};
  }
  job.stop_tokens = CheckIds(in.stop_token_ids(), vocab_size, vocab_size,
                             "sampling.stop_token_ids", errors);
  job.include_stop = in.include_stop();
  job.ignore_eos = in.ignore_eos();
}

// Whether a token is left to draw while min_tokens holds the ends back.
bool AnyTokenIsLeft(const GenerateJob& job, const Tokenizer& tokenizer) {
  const SamplingParams& sampling = job.sampling;
  absl::flat_hash_set<int32_t> banned(sampling.banned_tokens.begin(),
                                      sampling.banned_tokens.end());
  if (sampling.min_tokens > 0) {
    banned.insert(job.stop_tokens.begin(), job.stop_tokens.end());
    if (!job.ignore_eos) banned.insert(tokenizer.eos_id());
  }
  const std::vector<int32_t>& allowed = sampling.allowed_tokens;
  if (allowed.empty()) {
    banned.erase(-1);  // A model may have no EOS.
    return banned.size() < static_cast<size_t>(tokenizer.vocab_size());
  }
  return std::any_of(allowed.begin(), allowed.end(), [&banned](int32_t token) {
    return !banned.contains(token);
  });
}

void ToTokenRules(const v1::SamplingParams& in, const Tokenizer& tokenizer,
                  GenerateJob& job, FieldErrors& errors) {
  const int32_t vocab_size = tokenizer.vocab_size();
  SamplingParams& out = job.sampling;
  for (const auto& [token, bias] : in.logit_bias()) {
    const std::string path = absl::StrCat("sampling.logit_bias[", token, "]");
    if (token < 0 || token >= vocab_size) {
      errors.Add(path,
                 absl::StrCat("token ", token, "; want 0 .. ", vocab_size - 1));
    }
    CheckRange(path, bias, -100.0f, 100.0f, errors);
    out.logit_bias.push_back({token, bias});
  }
  out.allowed_tokens = CheckIds(in.allowed_token_ids(), vocab_size, vocab_size,
                                "sampling.allowed_token_ids", errors);
  out.banned_tokens = CheckIds(in.banned_token_ids(), vocab_size, vocab_size,
                               "sampling.banned_token_ids", errors);
  if (AnyTokenIsLeft(job, tokenizer)) return;
  errors.Add(in.allowed_token_ids().empty() ? "sampling.banned_token_ids"
                                            : "sampling.allowed_token_ids",
             "no token is left beside banned_token_ids and what min_tokens "
             "holds back; want at least one");
}

void ToLogprobs(const v1::SamplingParams& in, GenerateJob& job,
                FieldErrors& errors) {
  if (in.has_logprobs()) {
    job.sampling.logprobs =
        CheckRange("sampling.logprobs", in.logprobs(), 0, kMaxLogprobs, errors);
  }
  if (!in.has_prompt_logprobs()) return;
  job.prompt_logprobs =
      CheckRange("sampling.prompt_logprobs", in.prompt_logprobs(), 0,
                 kMaxLogprobs, errors);
  const auto tokens = static_cast<int64_t>(job.prompt.size());
  const int64_t values = tokens * (int64_t{job.prompt_logprobs} + 1);
  if (values > kMaxPromptLogprobs) {
    errors.Add(
        "sampling.prompt_logprobs",
        absl::StrCat(job.prompt_logprobs, " for ", tokens, " tokens are ",
                     values, " values; want at most ", kMaxPromptLogprobs));
  }
}

void ToChoices(const v1::SamplingParams& in, int32_t state_slots,
               GenerateJob& job, FieldErrors& errors) {
  const int32_t most = std::min(kMaxChoices, state_slots);
  const auto check = [&](const char* path, int32_t value, int32_t least) {
    if (value >= least && value <= most) return;
    errors.Add(path, absl::StrCat(value, "; want ", least, " .. ", most,
                                  most < kMaxChoices
                                      ? absl::StrCat(" (the server has ",
                                                     state_slots, " states)")
                                      : ""));
  };
  if (in.has_n()) {
    job.choices = in.n();
    check("sampling.n", in.n(), 1);
  }
  job.best_of = job.choices;
  if (in.has_best_of()) {
    job.best_of = in.best_of();
    check("sampling.best_of", in.best_of(), std::max(job.choices, 1));
  }
}

}  // namespace

void ToSampling(const v1::SamplingParams& in, const ConvertContext& context,
                GenerateJob& job, FieldErrors& errors) {
  const Tokenizer& tokenizer = *context.tokenizer;
  ToLengths(in, context, job, errors);
  ToDistribution(in, context.defaults, job.sampling, errors);
  ToPenalties(in, context.defaults, job.sampling, errors);
  const bool resumes = job.start != nullptr && job.prompt.empty();
  job.sampling.seed = in.has_seed() ? in.seed()
                      : resumes     ? job.start->sampler.seed
                                    : RandomSeed();
  ToStops(in, tokenizer.vocab_size(), job, errors);
  ToTokenRules(in, tokenizer, job, errors);
  ToLogprobs(in, job, errors);
  ToChoices(in, context.state_slots, job, errors);
}

}  // namespace chela
