#ifndef CHELA_MODELS_SAMPLING_RULES_H_
#define CHELA_MODELS_SAMPLING_RULES_H_

#include <memory>
#include <vector>

#include "models/candidates.h"
#include "models/sampler.h"

namespace chela {

// One step of shaping the candidates: drops or reweighs them. A new rule is a
// class like those below, a field of SamplingParams and a row of the table in
// sampling_rules.cc. Immutable.
class SamplingRule {
 public:
  virtual ~SamplingRule() = default;
  virtual void Apply(Candidates& candidates) const = 0;
};

// temperature t: logit <- (logit - max) / t; t = 0, the limit, keeps the most
// likely token only (of equal ones the lowest id).
class TemperatureRule : public SamplingRule {
 public:
  explicit TemperatureRule(double temperature) : temperature_(temperature) {}
  void Apply(Candidates& candidates) const override;

 private:
  double temperature_;
};

// top_k k: keeps the k most likely tokens.
class TopKRule : public SamplingRule {
 public:
  explicit TopKRule(size_t k) : k_(k) {}
  void Apply(Candidates& candidates) const override;

 private:
  size_t k_;
};

// top_p p: keeps the fewest most likely tokens that hold at least p of the
// probability left by the rules before it (nucleus sampling, Holtzman et al.
// 2019).
class TopPRule : public SamplingRule {
 public:
  explicit TopPRule(double p) : p_(p) {}
  void Apply(Candidates& candidates) const override;

 private:
  double p_;
};

// The rules that `params` switches on, in the order in which they apply:
// temperature, top_k, top_p. A rule at its neutral value (temperature 1, top_k
// 0, top_p 1) is left out. Values outside the documented ranges count as the
// nearest inside, NaN as greedy or off.
std::vector<std::unique_ptr<SamplingRule>> MakeRules(
    const SamplingParams& params);

}  // namespace chela

#endif  // CHELA_MODELS_SAMPLING_RULES_H_
