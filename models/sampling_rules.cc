#include "models/sampling_rules.h"

#include <utility>

namespace chela {
namespace {

// Makes a rule, or null if `params` leaves it off.
using RuleFactory = std::unique_ptr<SamplingRule> (*)(const SamplingParams&);

std::unique_ptr<SamplingRule> MakeTemperature(const SamplingParams& params) {
  if (params.temperature == 1.0) return nullptr;
  return std::make_unique<TemperatureRule>(params.temperature);
}

std::unique_ptr<SamplingRule> MakeTopK(const SamplingParams& params) {
  if (params.top_k <= 0) return nullptr;
  return std::make_unique<TopKRule>(static_cast<size_t>(params.top_k));
}

std::unique_ptr<SamplingRule> MakeTopP(const SamplingParams& params) {
  if (!(params.top_p < 1.0)) return nullptr;
  return std::make_unique<TopPRule>(params.top_p);
}

constexpr RuleFactory kRules[] = {MakeTemperature, MakeTopK, MakeTopP};

}  // namespace

void TemperatureRule::Apply(Candidates& candidates) const {
  if (temperature_ > 0) {
    candidates.Scale(temperature_);
  } else {
    candidates.KeepMostLikely(1);
  }
}

void TopKRule::Apply(Candidates& candidates) const {
  candidates.KeepMostLikely(k_);
}

void TopPRule::Apply(Candidates& candidates) const {
  candidates.KeepNucleus(p_);
}

std::vector<std::unique_ptr<SamplingRule>> MakeRules(
    const SamplingParams& params) {
  std::vector<std::unique_ptr<SamplingRule>> rules;
  for (const RuleFactory make : kRules) {
    std::unique_ptr<SamplingRule> rule = make(params);
    if (rule != nullptr) rules.push_back(std::move(rule));
  }
  return rules;
}

}  // namespace chela
