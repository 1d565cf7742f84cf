#include "models/backend_draw.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "models/sampler.h"

namespace chela {
namespace {

constexpr float kFloatMax = std::numeric_limits<float>::max();
constexpr float kFloatInfinity = std::numeric_limits<float>::infinity();

// As Candidates::Scale has it.
float InverseTemperature(double temperature) {
  if (!(temperature > 0)) return kFloatInfinity;
  return static_cast<float>(std::min(1.0 / temperature, double{kFloatMax}));
}

// A ban is a bias that no other one lifts.
std::vector<TokenBias> MakeBiases(const SamplingParams& params, bool first) {
  std::map<int32_t, float> biases;
  for (const TokenBias& one : params.logit_bias) {
    biases[one.token] += one.bias;
  }
  for (const int32_t token : params.banned_tokens)
    biases[token] = -kFloatInfinity;
  if (first) {
    // A tokenizer without EOS has -1.
    for (const int32_t token : params.end_tokens)
      biases[token] = -kFloatInfinity;
  }
  biases.erase(biases.begin(), biases.lower_bound(0));
  std::vector<TokenBias> list;
  list.reserve(biases.size());
  for (const auto& [token, bias] : biases) list.push_back({token, bias});
  return list;
}

}  // namespace

BackendDraw::BackendDraw(const SamplingParams& params)
    : possible_(params.allowed_tokens.empty() && !(params.typical_p < 1)),
      min_tokens_(params.end_tokens.empty() ? 0 : params.min_tokens),
      biases_(MakeBiases(params, false)) {
  if (min_tokens_ > 0) first_biases_ = MakeBiases(params, true);
  // Beyond the documented ranges as MakeRules has it.
  rule_.inverse_temperature =
      params.temperature == 1.0 ? 1.0f : InverseTemperature(params.temperature);
  rule_.top_k = std::max(params.top_k, 0);
  if (params.top_p < 1) rule_.top_p = std::max(params.top_p, 0.0);
  if (params.min_p > 0) {
    rule_.min_p = static_cast<float>(std::min(params.min_p, 1.0));
  }
  if (params.repetition_penalty > 0) {
    rule_.repetition_penalty = params.repetition_penalty;
  }
  if (std::isfinite(params.presence_penalty)) {
    rule_.presence_penalty = params.presence_penalty;
  }
  if (std::isfinite(params.frequency_penalty)) {
    rule_.frequency_penalty = params.frequency_penalty;
  }
}

std::optional<DrawRule> BackendDraw::RuleOf(const SamplingStep& step,
                                            DrawPlan& plan) const {
  const std::vector<TokenBias>& biases =
      step.draw < min_tokens_ ? first_biases_ : biases_;
  if (!possible_ || biases.size() > kMaxDrawList ||
      step.history.size() > kMaxDrawList) {
    return std::nullopt;
  }
  DrawRule rule = rule_;
  rule.first_bias = static_cast<int32_t>(plan.biases.size());
  rule.num_biases = static_cast<int32_t>(biases.size());
  plan.biases.insert(plan.biases.end(), biases.begin(), biases.end());
  rule.first_count = static_cast<int32_t>(plan.counts.size());
  rule.num_counts = static_cast<int32_t>(step.history.size());
  plan.counts.insert(plan.counts.end(), step.history.begin(),
                     step.history.end());
  return rule;
}

}  // namespace chela
