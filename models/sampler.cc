#include "models/sampler.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

#include "models/backend_draw.h"
#include "models/logit_passes.h"
#include "models/philox.h"
#include "models/sampling_rules.h"

namespace chela {
namespace {

// What turns a logit into a log-probability. The maximum stays apart from
// log(sum(exp(logit - max))): added to a large one, the other would be lost.
struct LogSoftmax {
  explicit LogSoftmax(std::span<const float> logits) {
    const float max = MaxLogit(logits);
    double sum = 0;
    // A part at a time, so that nothing is allocated.
    constexpr size_t kPart = 64 * kLogitBlock;
    double sums[LogitBlocks(kPart)];
    for (size_t begin = 0; begin < logits.size(); begin += kPart) {
      const size_t size = std::min(kPart, logits.size() - begin);
      sum += ExpWeights(logits.subspan(begin, size), max, 1, nullptr, sums);
    }
    max_logit = max;
    log_sum = std::log(sum);
  }
  double Of(float logit) const { return (logit - max_logit) - log_sum; }

  double max_logit = 0;
  double log_sum = 0;
};

bool MoreLikely(const TokenLogprob& a, const TokenLogprob& b) {
  return a.logprob > b.logprob || (a.logprob == b.logprob && a.token < b.token);
}

// The `count` most likely tokens, most likely first: a list that stays sorted,
// and nearly every block of tokens falls behind its last entry.
std::vector<TokenLogprob> MostLikely(std::span<const float> logits,
                                     size_t count,
                                     const LogSoftmax& log_softmax) {
  std::vector<TokenLogprob> best;
  best.reserve(count + 1);
  for (size_t begin = 0; begin < logits.size(); begin += kLogitBlock) {
    const size_t end = std::min(begin + kLogitBlock, logits.size());
    if (best.size() == count &&
        !(MaxLogit(logits.subspan(begin, end - begin)) > best.back().logprob)) {
      continue;
    }
    for (size_t i = begin; i < end; ++i) {
      if (best.size() == count && !(logits[i] > best.back().logprob)) continue;
      const TokenLogprob entry{static_cast<int32_t>(i), logits[i]};
      best.insert(std::upper_bound(best.begin(), best.end(), entry, MoreLikely),
                  entry);
      if (best.size() > count) best.pop_back();
    }
  }
  for (TokenLogprob& entry : best) {
    entry.logprob = static_cast<float>(log_softmax.Of(entry.logprob));
  }
  return best;
}

bool LooksBack(const SamplingParams& params) {
  return params.repetition_penalty != 1 || params.presence_penalty != 0 ||
         params.frequency_penalty != 0;
}

}  // namespace

struct Sampler::Impl {
  Impl(const SamplingParams& p, uint32_t b)
      : params(p),
        branch(b),
        rules(MakeRules(p)),
        draw(p),
        looks_back(LooksBack(p)),
        history(p.penalty_window) {}

  SamplingParams params;
  uint32_t branch = 0;
  std::vector<std::unique_ptr<SamplingRule>> rules;
  BackendDraw draw;
  bool looks_back = false;
  TokenHistory history;
  int64_t earlier_draws = 0;
};

Sampler::Sampler(const SamplingParams& params, uint32_t branch)
    : impl_(new Impl(params, branch)) {}
Sampler::Sampler(const Sampler& other, uint32_t branch)
    : impl_(new Impl(other.impl_->params, branch)) {
  impl_->history = other.impl_->history;
  impl_->earlier_draws = other.impl_->earlier_draws;
}
Sampler::~Sampler() = default;
Sampler::Sampler(Sampler&&) noexcept = default;
Sampler& Sampler::operator=(Sampler&&) noexcept = default;

void Sampler::Continue(const SamplerState& earlier, bool as_prompt) {
  if (impl_->looks_back) impl_->history.AddEarlier(earlier, as_prompt);
  impl_->earlier_draws = as_prompt ? 0 : earlier.draws;
}

void Sampler::AddPrompt(std::span<const int32_t> tokens) {
  if (impl_->looks_back) impl_->history.AddPrompt(tokens);
}

void Sampler::AddGenerated(int32_t token) {
  if (impl_->looks_back) impl_->history.AddGenerated(token);
}

SampledToken Sampler::Sample(std::span<const float> logits,
                             int64_t draw) const {
  assert(!logits.empty());
  // Its memory is that of a row: one for all samplers of a thread.
  thread_local Candidates candidates;
  candidates.Reset(logits);
  const SamplingStep step{draw, impl_->history.entries()};
  for (const auto& rule : impl_->rules) rule->Apply(step, candidates);
  const auto counter = static_cast<uint64_t>(impl_->earlier_draws + draw);
  const int32_t token =
      candidates.Draw(UniformDraw(impl_->params.seed, impl_->branch, counter));
  return Report(token, logits);
}

std::optional<DrawRule> Sampler::RuleOf(int64_t draw, DrawPlan& plan) const {
  const SamplingStep step{draw, impl_->history.entries()};
  std::optional<DrawRule> rule = impl_->draw.RuleOf(step, plan);
  if (!rule.has_value()) return std::nullopt;
  const auto counter = static_cast<uint64_t>(impl_->earlier_draws + draw);
  rule->uniform = UniformDraw(impl_->params.seed, impl_->branch, counter);
  return rule;
}

SampledToken Sampler::Report(int32_t token,
                             std::span<const float> logits) const {
  if (!reports_logprobs()) return {.token = token, .top = {}};
  return WithLogprobs(logits, token, impl_->params.logprobs);
}

bool Sampler::reports_logprobs() const { return impl_->params.logprobs >= 0; }

double LogProbability(std::span<const float> logits, int32_t token) {
  assert(token >= 0 && static_cast<size_t>(token) < logits.size());
  return LogSoftmax(logits).Of(logits[static_cast<size_t>(token)]);
}

SampledToken WithLogprobs(std::span<const float> logits, int32_t token,
                          int32_t count) {
  assert(token >= 0 && static_cast<size_t>(token) < logits.size());
  const LogSoftmax log_softmax(logits);
  SampledToken result;
  result.token = token;
  result.logprob =
      static_cast<float>(log_softmax.Of(logits[static_cast<size_t>(token)]));
  if (count > 0) {
    result.top =
        MostLikely(logits, static_cast<size_t>(std::min(count, kMaxLogprobs)),
                   log_softmax);
  }
  return result;
}

}  // namespace chela
