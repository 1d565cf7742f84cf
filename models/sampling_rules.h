#ifndef CHELA_MODELS_SAMPLING_RULES_H_
#define CHELA_MODELS_SAMPLING_RULES_H_

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "models/candidates.h"
#include "models/sampling_params.h"
#include "models/token_history.h"

namespace chela {

// What a rule may look at beside the candidates.
struct SamplingStep {
  int64_t draw = 0;                              // tokens generated so far
  std::span<const TokenHistory::Entry> history;  // see penalty_window
};

// One step of shaping the candidates: drops or reweighs them. A new rule is a
// class like those below, a field of SamplingParams and a row of the table in
// sampling_rules.cc. Immutable.
class SamplingRule {
 public:
  virtual ~SamplingRule() = default;
  virtual void Apply(const SamplingStep& step,
                     Candidates& candidates) const = 0;
};

// banned_token_ids: logit <- -inf.
class BannedTokensRule : public SamplingRule {
 public:
  explicit BannedTokensRule(std::vector<int32_t> tokens)
      : tokens_(std::move(tokens)) {}
  void Apply(const SamplingStep& step, Candidates& candidates) const override;

 private:
  std::vector<int32_t> tokens_;
};

// allowed_token_ids: logit <- -inf of every other token.
class AllowedTokensRule : public SamplingRule {
 public:
  explicit AllowedTokensRule(std::vector<int32_t> tokens);
  void Apply(const SamplingStep& step, Candidates& candidates) const override;

 private:
  std::vector<int32_t> tokens_;  // ascending
};

// min_tokens n: logit <- -inf of what would end the text, for the first n
// draws.
class MinTokensRule : public SamplingRule {
 public:
  MinTokensRule(int32_t min_tokens, std::vector<int32_t> end_tokens)
      : min_tokens_(min_tokens), end_tokens_(std::move(end_tokens)) {}
  void Apply(const SamplingStep& step, Candidates& candidates) const override;

 private:
  int32_t min_tokens_;
  std::vector<int32_t> end_tokens_;
};

// logit_bias: logit <- logit + bias.
class LogitBiasRule : public SamplingRule {
 public:
  explicit LogitBiasRule(std::vector<TokenBias> biases)
      : biases_(std::move(biases)) {}
  void Apply(const SamplingStep& step, Candidates& candidates) const override;

 private:
  std::vector<TokenBias> biases_;
};

// repetition_penalty r (Keskar et al. 2019, arXiv 1909.05858): of each token of
// the prompt or the generated text, logit <- logit / r if it is positive, else
// logit * r.
class RepetitionPenaltyRule : public SamplingRule {
 public:
  explicit RepetitionPenaltyRule(double penalty) : penalty_(penalty) {}
  void Apply(const SamplingStep& step, Candidates& candidates) const override;

 private:
  double penalty_;
};

// presence_penalty p: of each token of the generated text, logit <- logit - p.
class PresencePenaltyRule : public SamplingRule {
 public:
  explicit PresencePenaltyRule(double penalty) : penalty_(penalty) {}
  void Apply(const SamplingStep& step, Candidates& candidates) const override;

 private:
  double penalty_;
};

// frequency_penalty f: of each token that was generated c times, logit <- logit
// - c f.
class FrequencyPenaltyRule : public SamplingRule {
 public:
  explicit FrequencyPenaltyRule(double penalty) : penalty_(penalty) {}
  void Apply(const SamplingStep& step, Candidates& candidates) const override;

 private:
  double penalty_;
};

// temperature t: logit <- (logit - max) / t; t = 0, the limit, keeps the most
// likely token only (of equal ones the lowest id).
class TemperatureRule : public SamplingRule {
 public:
  explicit TemperatureRule(double temperature) : temperature_(temperature) {}
  void Apply(const SamplingStep& step, Candidates& candidates) const override;

 private:
  double temperature_;
};

// top_k k: keeps the k most likely tokens.
class TopKRule : public SamplingRule {
 public:
  explicit TopKRule(size_t k) : k_(k) {}
  void Apply(const SamplingStep& step, Candidates& candidates) const override;

 private:
  size_t k_;
};

// typical_p p (locally typical sampling, Meister et al. 2022, arXiv
// 2202.00666): keeps the fewest tokens that hold at least p of the probability
// left by the rules before it, in the order of |-log q - H|, where q is the
// token's share of it and H the entropy of these shares.
class TypicalPRule : public SamplingRule {
 public:
  explicit TypicalPRule(double p) : p_(p) {}
  void Apply(const SamplingStep& step, Candidates& candidates) const override;

 private:
  double p_;
};

// top_p p: keeps the fewest most likely tokens that hold at least p of the
// probability left by the rules before it (nucleus sampling, Holtzman et al.
// 2019).
class TopPRule : public SamplingRule {
 public:
  explicit TopPRule(double p) : p_(p) {}
  void Apply(const SamplingStep& step, Candidates& candidates) const override;

 private:
  double p_;
};

// min_p p: keeps the tokens that are at least p times as likely as the most
// likely one (of those left by the rules before it).
class MinPRule : public SamplingRule {
 public:
  explicit MinPRule(double p) : p_(p) {}
  void Apply(const SamplingStep& step, Candidates& candidates) const override;

 private:
  double p_;
};

// The rules that `params` switches on, in the order in which they stand above.
// A rule at its neutral value is left out. Values outside the documented
// ranges count as the nearest inside, NaN as greedy or off.
std::vector<std::unique_ptr<SamplingRule>> MakeRules(
    const SamplingParams& params);

}  // namespace chela

#endif  // CHELA_MODELS_SAMPLING_RULES_H_
