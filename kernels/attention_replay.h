#ifndef CHELA_KERNELS_ATTENTION_REPLAY_H_
#define CHELA_KERNELS_ATTENTION_REPLAY_H_

#include <cstdint>

#include "kernels/step.h"

namespace chela {

inline constexpr int32_t kMinReplay = 2;
inline constexpr int32_t kMaxReplay = 32;

// Attention replay: decode rows read the state S of a head at every token but
// write it only at every R-th one. The phi(k) and w of the n tokens since then
// lie in a ring, and their part is added on the way, with l the decay and s the
// entries and the current token, from the oldest, 0, to the token itself, n:
//   o_t = l^(n+1) S^T q_t + sum_s l^(n-s) (q_t . k_s) w_s
// The token at position t of head h ends a period when (t + offset + h) mod R =
// 0, or at t = 0: then S becomes l^(n+1) S + sum_s l^(n-s) k_s w_s^T and the
// ring is empty. Else the token becomes entry n. Segments of more than one
// token first add the ring to S and leave it empty.
//
// So what is added when depends on a sequence's own positions and pieces alone.
// The order of the sums is not that of the op without replay: the results of
// the two agree within float32's accuracy, not in bits.
struct AttentionReplay {
  int32_t period = 0;  // R, kMinReplay .. kMaxReplay; 0: off
  int64_t offset = 0;  // >= 0; of head 0
  // [slots][heads, R (key_dim + value_dim)], in/out: a head's keys [R,
  // key_dim], then its values [R, value_dim], oldest first. Row R - 1 is never
  // an entry; its first key holds n, as a float.
  StateView ring = {};

  // Where a head's parts begin, in floats from its ring's begin.
  int64_t head_floats(int64_t key_dim, int64_t value_dim) const {
    return period * (key_dim + value_dim);
  }
  int64_t values_at(int64_t key_dim) const { return period * key_dim; }
  int64_t count_at(int64_t key_dim) const { return (period - 1) * key_dim; }
};

}  // namespace chela

#endif  // CHELA_KERNELS_ATTENTION_REPLAY_H_
