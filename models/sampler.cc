#include "models/sampler.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

#include "models/candidates.h"
#include "models/philox.h"
#include "models/sampling_rules.h"

namespace chela {
namespace {

// What turns a logit into a log-probability. The maximum stays apart from
// log(sum(exp(logit - max))): added to a large one, the other would be lost.
struct LogSoftmax {
  explicit LogSoftmax(std::span<const float> logits) {
    float max = logits[0];
    for (const float logit : logits) max = logit > max ? logit : max;
    double sum = 0;
    for (const float logit : logits) sum += std::exp(logit - max);
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

// The `count` most likely tokens, most likely first, in one pass over a list
// that stays sorted: nearly every token falls behind its last entry.
std::vector<TokenLogprob> MostLikely(std::span<const float> logits,
                                     size_t count,
                                     const LogSoftmax& log_softmax) {
  std::vector<TokenLogprob> best;
  best.reserve(count + 1);
  for (size_t i = 0; i < logits.size(); ++i) {
    if (best.size() == count && !(logits[i] > best.back().logprob)) continue;
    const TokenLogprob entry{static_cast<int32_t>(i), logits[i]};
    best.insert(std::upper_bound(best.begin(), best.end(), entry, MoreLikely),
                entry);
    if (best.size() > count) best.pop_back();
  }
  for (TokenLogprob& entry : best) {
    entry.logprob = static_cast<float>(log_softmax.Of(entry.logprob));
  }
  return best;
}

}  // namespace

struct Sampler::Impl {
  SamplingParams params;
  uint32_t branch = 0;
  std::vector<std::unique_ptr<SamplingRule>> rules;
  Candidates candidates;
};

Sampler::Sampler(const SamplingParams& params, uint32_t branch)
    : impl_(new Impl{params, branch, MakeRules(params), {}}) {}
Sampler::~Sampler() = default;
Sampler::Sampler(Sampler&&) noexcept = default;
Sampler& Sampler::operator=(Sampler&&) noexcept = default;

SampledToken Sampler::Sample(std::span<const float> logits, int64_t draw) {
  assert(!logits.empty());
  Candidates& candidates = impl_->candidates;
  const SamplingParams& params = impl_->params;
  candidates.Reset(logits);
  for (const auto& rule : impl_->rules) rule->Apply(candidates);
  SampledToken sampled;
  sampled.token = candidates.Draw(
      UniformDraw(params.seed, impl_->branch, static_cast<uint64_t>(draw)));
  if (params.logprobs < 0) return sampled;
  const LogSoftmax log_softmax(logits);
  const auto chosen = static_cast<size_t>(sampled.token);
  sampled.logprob = static_cast<float>(log_softmax.Of(logits[chosen]));
  if (params.logprobs > 0) {
    const auto count =
        static_cast<size_t>(std::min(params.logprobs, kMaxLogprobs));
    sampled.top = MostLikely(logits, count, log_softmax);
  }
  return sampled;
}

double LogProbability(std::span<const float> logits, int32_t token) {
  assert(token >= 0 && static_cast<size_t>(token) < logits.size());
  return LogSoftmax(logits).Of(logits[static_cast<size_t>(token)]);
}

}  // namespace chela
