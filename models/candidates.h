#ifndef CHELA_MODELS_CANDIDATES_H_
#define CHELA_MODELS_CANDIDATES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace chela {

// The tokens that one draw may still give, with their logits: what the
// sampling rules work on. Always in ascending id order and never empty, so
// that what a rule drops does not move what it keeps.
//
// Memory is kept from row to row. Owned by one thread.
class Candidates {
 public:
  // All tokens of a row, vocab >= 1. A NaN or -inf becomes the lowest float,
  // +inf the largest, so that everything below is total.
  void Reset(std::span<const float> logits);

  size_t size() const { return tokens_.size(); }
  std::span<const int32_t> tokens() const { return tokens_; }
  std::span<const float> logits() const { return logits_; }
  float max_logit() const;

  // exp(logit - max_logit()) of each candidate, and their sum; computed when
  // first asked for after the logits changed.
  std::span<const float> Weights();
  double TotalWeight();

  // logit <- (logit - max_logit()) / temperature, for temperature > 0. The
  // subtraction keeps a temperature near 0 from overflowing.
  void Scale(double temperature);

  // Drops all but the `count` >= 1 tokens of the highest logit; of equal ones
  // the lower ids stay.
  void KeepMostLikely(size_t count);

  // Drops all but the fewest most likely tokens whose weights sum to at least
  // share * TotalWeight(), and of equal weights the higher ids first; keeps at
  // least one. O(size()), no sort.
  void KeepNucleus(double share);

  // The first token at which the running sum of weights exceeds
  // uniform * TotalWeight(), for `uniform` in [0, 1).
  int32_t Draw(double uniform);

 private:
  // Drops candidate i unless values[i] > cut, or values[i] == cut and it is
  // among the first `ties` of those. `values` may be logits_ or weights_.
  void Keep(std::span<const float> values, float cut, size_t ties);

  std::vector<int32_t> tokens_;
  std::vector<float> logits_;
  std::vector<float> weights_;  // valid if weighed_
  std::vector<float> scratch_;
  double total_weight_ = 0;
  bool weighed_ = false;
};

}  // namespace chela

#endif  // CHELA_MODELS_CANDIDATES_H_
