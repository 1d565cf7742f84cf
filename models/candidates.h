#ifndef CHELA_MODELS_CANDIDATES_H_
#define CHELA_MODELS_CANDIDATES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace chela {

// The tokens that one draw may still give, with their logits: what the
// sampling rules work on. Always in ascending id order and never empty, so
// that what a rule drops does not move what it keeps.
//
// At first these are all tokens of a row, which is only borrowed and is passed
// over whole (logit_passes.h); a rule that drops tokens finds the few that may
// stay and leaves a short list. So nothing is ever sorted, and without Edit
// nothing is copied.
//
// Memory is kept from row to row. Owned by one thread.
class Candidates {
 public:
  // All tokens of a row, vocab >= 1, which must outlive what follows. A NaN or
  // -inf is a token that is never drawn, +inf counts as the largest float; if
  // no token can be drawn, all are equal. So everything below is total.
  void Reset(std::span<const float> logits);

  size_t size() const { return whole_ ? row_.size() : count_; }

  // The logits of all tokens by id, to be changed: -inf bans one. Only before
  // any of the calls below.
  std::span<float> Edit();

  // logit <- (logit - the maximum) / temperature, for temperature > 0: that of
  // every weight from here on. The order of the tokens stays that of the
  // unscaled logits.
  void Scale(double temperature);

  // Drops all but the `count` >= 1 tokens of the highest logit; of equal ones
  // the lower ids stay.
  void KeepMostLikely(size_t count);

  // Drops all but the fewest most likely tokens whose weights sum to at least
  // share of all weights; of equal ones the lower ids stay. Keeps at least one.
  void KeepNucleus(double share);

  // Drops all but the fewest tokens with the most typical information that
  // hold at least `share` of all weights: those whose -log p is nearest to its
  // mean, the entropy; of equal ones the lower ids stay. Keeps at least one.
  void KeepTypical(double share);

  // Drops the tokens that weigh less than `share` <= 1 of the heaviest.
  void KeepHeavierThan(double share);

  // The first token at which the running sum of weights, exp of the scaled
  // logits, exceeds uniform * their sum, for `uniform` in [0, 1).
  int32_t Draw(double uniform);

 private:
  std::span<const float> logits() const {
    return whole_ ? row_ : std::span(logits_).first(count_);
  }
  std::span<const float> weights() const {
    return std::span(weights_).first(size());
  }
  int32_t TokenAt(size_t index) const {
    return whole_ ? static_cast<int32_t>(index) : tokens_[index];
  }
  float Max();
  // exp((logit - Max()) * factor_) of each candidate; computed when first
  // asked for after the candidates or the factor changed.
  void Weigh();
  // indices_: of the candidates whose value is at least `cut`.
  std::span<const int32_t> Find(std::span<const float> values, float cut);
  // Makes candidates of those at these ascending indices alone.
  void Keep(std::span<const int32_t> indices);
  // Of indices_ [0, found), keeps those with values[i] > cut and the first
  // `ties` of those with values[i] == cut.
  void KeepAbove(std::span<const float> values, size_t found, float cut,
                 size_t ties);
  // A lower bound of the `count`-th largest logit.
  float BoundOfMostLikely(size_t count);
  // indices_: candidates, among them the fewest heaviest that weigh `target`.
  size_t FindNucleus(double share, double target);

  bool whole_ = true;
  std::span<const float> row_;  // the caller's or edited_; if whole_
  std::vector<float> edited_;

  size_t count_ = 0;  // candidates, if not whole_
  std::vector<int32_t> tokens_;
  std::vector<float> logits_;

  bool max_known_ = false;
  float max_ = 0;
  float factor_ = 1;
  bool weighed_ = false;
  double total_weight_ = 0;
  std::vector<float> weights_;
  std::vector<double> block_sums_;

  std::vector<int32_t> indices_;
  std::vector<float> scratch_;
  std::vector<std::pair<double, int32_t>> typical_;
};

}  // namespace chela

#endif  // CHELA_MODELS_CANDIDATES_H_
