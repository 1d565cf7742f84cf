#ifndef CHELA_TESTS_KERNELS_ATTENTION_RIG_H_
#define CHELA_TESTS_KERNELS_ATTENTION_RIG_H_

#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "tests/reference/linear_attention.h"
#include "tests/support/kernel_test.h"

namespace chela {

inline constexpr int32_t kAttentionSlots = 4;
// Floats between the slots' parts.
inline constexpr int64_t kAttentionGap = 3;

reference::AttentionWeights RandomWeights(int32_t heads, int32_t key_dim,
                                          int32_t value_dim, FeatureMap map,
                                          bool with_decay);

// The raw inputs of some tokens: one row holds shared, value and reset side by
// side, as the stacked projections leave them.
struct Tokens {
  Tokens(const reference::AttentionWeights& weights, int64_t count,
         uint32_t seed)
      : keys(int64_t{weights.heads} * weights.key_dim),
        values(int64_t{weights.heads} * weights.value_dim),
        stride(keys + 2 * values),
        rows(RandomFloats(count * stride, -3, 3, seed)) {}

  std::vector<std::vector<float>> Column(int64_t first, int64_t width) const {
    std::vector<std::vector<float>> column;
    const auto end = static_cast<int64_t>(rows.size());
    for (int64_t at = first; at < end; at += stride) {
      column.push_back(RowsOf(rows, 1, at, width));
    }
    return column;
  }

  int64_t keys;
  int64_t values;
  int64_t stride;
  std::vector<float> rows;
};

// A backend's copy of the weights, and states that begin poisoned.
class AttentionOn {
 public:
  // With replay if `period` is not 0.
  AttentionOn(Backend& backend, const reference::AttentionWeights& weights,
              int32_t period = 0, int64_t offset = 0,
              int32_t slots = kAttentionSlots)
      : backend_(backend),
        weights_(weights),
        q_scale_(backend, weights.q_scale),
        q_bias_(backend, weights.q_bias),
        k_scale_(backend, weights.k_scale),
        k_bias_(backend, weights.k_bias),
        norm_weight_(backend, weights.norm_weight),
        decay_(backend, weights.decay),
        keys_(int64_t{weights.heads} * weights.key_dim),
        values_(int64_t{weights.heads} * weights.value_dim),
        state_(backend, slots * slot_stride()),
        period_(period),
        offset_(offset),
        ring_(backend, slots * ring_stride()) {}

  int64_t slot_stride() const {
    return keys_ * weights_.value_dim + kAttentionGap;
  }

  int64_t ring_stride() const {
    return period_ * (keys_ + values_) + kAttentionGap;
  }

  // One step; `inputs` holds its rows. Returns the rows of `out`.
  std::vector<float> Step(const Rows& rows, const std::vector<float>& inputs);

  // One token or more of a sequence.
  std::vector<float> StepOf(const Segment& part, const Tokens& tokens) {
    return Step(Rows{part},
                RowsOf(tokens.rows, tokens.stride, part.position, part.rows));
  }

  // A whole sequence, fed to `slot` in steps of the given sizes.
  std::vector<float> Feed(int32_t slot, const Tokens& tokens,
                          const std::vector<int32_t>& sizes);

  std::vector<float> State() const { return state_.Read(); }
  std::vector<float> StateOf(int32_t slot) const {
    return RowsOf(State(), 1, slot * slot_stride(),
                  slot_stride() - kAttentionGap);
  }
  std::vector<float> Ring() const { return ring_.Read(); }
  std::vector<float> RingOf(int32_t slot) const {
    return RowsOf(Ring(), 1, slot * ring_stride(),
                  ring_stride() - kAttentionGap);
  }
  // State and ring.
  void CopySlot(int32_t from, int32_t to);
  // Of every head.
  void SetCount(int32_t slot, float count);

 private:
  Backend& backend_;
  const reference::AttentionWeights& weights_;
  Tensor q_scale_, q_bias_, k_scale_, k_bias_, norm_weight_, decay_;
  int64_t keys_;
  int64_t values_;
  Tensor state_;
  int32_t period_;
  int64_t offset_;
  Tensor ring_;
};

// The entries of a head's ring (attention_replay.h).
int64_t RingCount(const std::vector<float>& ring,
                  const reference::AttentionWeights& weights, int32_t period,
                  int32_t head);

}  // namespace chela

#endif  // CHELA_TESTS_KERNELS_ATTENTION_RIG_H_
