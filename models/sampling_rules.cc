#include "models/sampling_rules.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace chela {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();

// The logit of a token. Ids outside the row, which no checked request has, are
// left alone.
template <typename Change>
void ChangeLogit(std::span<float> logits, int32_t token, Change change) {
  const auto index = static_cast<size_t>(token);
  if (token < 0 || index >= logits.size()) return;
  logits[index] = change(logits[index]);
}

void Ban(std::span<float> logits, const std::vector<int32_t>& tokens) {
  for (const int32_t token : tokens) {
    ChangeLogit(logits, token, [](float) { return kBanned; });
  }
}

// In double, so that a penalty is rounded once.
float Less(float logit, double penalty) {
  return static_cast<float>(double{logit} - penalty);
}

using RulePointer = std::unique_ptr<SamplingRule>;
// Makes a rule, or null if `params` leaves it off.
using RuleFactory = RulePointer (*)(const SamplingParams&);

RulePointer MakeBannedTokens(const SamplingParams& params) {
  if (params.banned_tokens.empty()) return nullptr;
  return std::make_unique<BannedTokensRule>(params.banned_tokens);
}

RulePointer MakeAllowedTokens(const SamplingParams& params) {
  if (params.allowed_tokens.empty()) return nullptr;
  return std::make_unique<AllowedTokensRule>(params.allowed_tokens);
}

RulePointer MakeMinTokens(const SamplingParams& params) {
  if (params.min_tokens <= 0 || params.end_tokens.empty()) return nullptr;
  return std::make_unique<MinTokensRule>(params.min_tokens, params.end_tokens);
}

RulePointer MakeLogitBias(const SamplingParams& params) {
  if (params.logit_bias.empty()) return nullptr;
  return std::make_unique<LogitBiasRule>(params.logit_bias);
}

RulePointer MakeRepetitionPenalty(const SamplingParams& params) {
  const double penalty = params.repetition_penalty;
  if (!(penalty > 0) || penalty == 1) return nullptr;
  return std::make_unique<RepetitionPenaltyRule>(penalty);
}

RulePointer MakePresencePenalty(const SamplingParams& params) {
  const double penalty = params.presence_penalty;
  if (!std::isfinite(penalty) || penalty == 0) return nullptr;
  return std::make_unique<PresencePenaltyRule>(penalty);
}

RulePointer MakeFrequencyPenalty(const SamplingParams& params) {
  const double penalty = params.frequency_penalty;
  if (!std::isfinite(penalty) || penalty == 0) return nullptr;
  return std::make_unique<FrequencyPenaltyRule>(penalty);
}

RulePointer MakeTemperature(const SamplingParams& params) {
  if (params.temperature == 1.0) return nullptr;
  return std::make_unique<TemperatureRule>(params.temperature);
}

RulePointer MakeTopK(const SamplingParams& params) {
  if (params.top_k <= 0) return nullptr;
  return std::make_unique<TopKRule>(static_cast<size_t>(params.top_k));
}

RulePointer MakeTypicalP(const SamplingParams& params) {
  if (!(params.typical_p < 1.0)) return nullptr;
  return std::make_unique<TypicalPRule>(params.typical_p);
}

RulePointer MakeTopP(const SamplingParams& params) {
  if (!(params.top_p < 1.0)) return nullptr;
  return std::make_unique<TopPRule>(params.top_p);
}

RulePointer MakeMinP(const SamplingParams& params) {
  if (!(params.min_p > 0)) return nullptr;
  return std::make_unique<MinPRule>(std::min(params.min_p, 1.0));
}

constexpr RuleFactory kRules[] = {MakeBannedTokens,
                                  MakeAllowedTokens,
                                  MakeMinTokens,
                                  MakeLogitBias,
                                  MakeRepetitionPenalty,
                                  MakePresencePenalty,
                                  MakeFrequencyPenalty,
                                  MakeTemperature,
                                  MakeTopK,
                                  MakeTypicalP,
                                  MakeTopP,
                                  MakeMinP};

}  // namespace

void BannedTokensRule::Apply(const SamplingStep& /*step*/,
                             Candidates& candidates) const {
  Ban(candidates.Edit(), tokens_);
}

AllowedTokensRule::AllowedTokensRule(std::vector<int32_t> tokens)
    : tokens_(std::move(tokens)) {
  std::sort(tokens_.begin(), tokens_.end());
}

void AllowedTokensRule::Apply(const SamplingStep& /*step*/,
                              Candidates& candidates) const {
  const std::span<float> logits = candidates.Edit();
  auto allowed = tokens_.begin();
  int32_t token = 0;
  for (float& logit : logits) {
    while (allowed != tokens_.end() && *allowed < token) ++allowed;
    if (allowed == tokens_.end() || *allowed != token) logit = kBanned;
    ++token;
  }
}

void MinTokensRule::Apply(const SamplingStep& step,
                          Candidates& candidates) const {
  if (step.draw < min_tokens_) Ban(candidates.Edit(), end_tokens_);
}

void LogitBiasRule::Apply(const SamplingStep& /*step*/,
                          Candidates& candidates) const {
  const std::span<float> logits = candidates.Edit();
  for (const TokenBias& one : biases_) {
    ChangeLogit(logits, one.token,
                [&one](float logit) { return logit + one.bias; });
  }
}

void RepetitionPenaltyRule::Apply(const SamplingStep& step,
                                  Candidates& candidates) const {
  const std::span<float> logits = candidates.Edit();
  for (const TokenHistory::Entry& entry : step.history) {
    ChangeLogit(logits, entry.token, [this](float logit) {
      return static_cast<float>(logit > 0 ? logit / penalty_
                                          : logit * penalty_);
    });
  }
}

void PresencePenaltyRule::Apply(const SamplingStep& step,
                                Candidates& candidates) const {
  const std::span<float> logits = candidates.Edit();
  for (const TokenHistory::Entry& entry : step.history) {
    if (entry.generated == 0) continue;
    ChangeLogit(logits, entry.token,
                [this](float logit) { return Less(logit, penalty_); });
  }
}

void FrequencyPenaltyRule::Apply(const SamplingStep& step,
                                 Candidates& candidates) const {
  const std::span<float> logits = candidates.Edit();
  for (const TokenHistory::Entry& entry : step.history) {
    if (entry.generated == 0) continue;
    const double penalty = penalty_ * entry.generated;
    ChangeLogit(logits, entry.token,
                [penalty](float logit) { return Less(logit, penalty); });
  }
}

void TemperatureRule::Apply(const SamplingStep& /*step*/,
                            Candidates& candidates) const {
  if (temperature_ > 0) {
    candidates.Scale(temperature_);
  } else {
    candidates.KeepMostLikely(1);
  }
}

void TopKRule::Apply(const SamplingStep& /*step*/,
                     Candidates& candidates) const {
  candidates.KeepMostLikely(k_);
}

void TypicalPRule::Apply(const SamplingStep& /*step*/,
                         Candidates& candidates) const {
  candidates.KeepTypical(p_);
}

void TopPRule::Apply(const SamplingStep& /*step*/,
                     Candidates& candidates) const {
  candidates.KeepNucleus(p_);
}

void MinPRule::Apply(const SamplingStep& /*step*/,
                     Candidates& candidates) const {
  candidates.KeepHeavierThan(p_);
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
