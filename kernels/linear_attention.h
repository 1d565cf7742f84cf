#ifndef CHELA_KERNELS_LINEAR_ATTENTION_H_
#define CHELA_KERNELS_LINEAR_ATTENTION_H_

#include <cstdint>

#include "kernels/attention_replay.h"
#include "kernels/step.h"

namespace chela {

// phi: elu(s) + 1, silu(s) or s.
enum class FeatureMap { kElu1, kSilu, kIdentity };

// Causal linear attention with its input activations, per-head norm and reset
// gate. Per row, with zz = SiLU(shared), w = SiLU(value), r = SiLU(reset):
//   q = q_scale . zz + q_bias,  k = k_scale . zz + k_bias
//   per head h:  S_t = decay_h S_{t-1} + phi(k_t) w_t^T      [key_dim,
//   value_dim]
//                o_t = S_t^T phi(q_t)                        [value_dim]
//   out = r . RMSNorm per head (o) * norm_weight
// so a token attends to itself. There is no softmax denominator and no
// 1/sqrt(key_dim). Head h owns elements [h key_dim, (h+1) key_dim) of q and k
// and [h value_dim, (h+1) value_dim) of the values.
//
// Precision: float32; S is never narrowed, because its rounding error lasts
// for the whole sequence. The CPU adds tokens one after the other, in one
// order, so a row has the same bits however the tokens are split into steps.
// CUDA adds the tokens of longer segments in blocks at absolute positions:
// there steps that end at multiples of 256 give the bits of the whole, others
// its values within float32's accuracy. With replay (attention_replay.h) the
// rows of one-token segments have an order of their own, on the CPU too.
struct LinearAttention {
  int32_t heads = 0;
  int32_t key_dim = 0;    // per head
  int32_t value_dim = 0;  // per head
  FeatureMap feature_map = FeatureMap::kElu1;
  float norm_eps = 1e-5f;
  RowView shared;                  // [rows, heads * key_dim], raw sums
  RowView value;                   // [rows, heads * value_dim], raw sums
  RowView reset;                   // [rows, heads * value_dim], raw sums
  const float* q_scale = nullptr;  // [heads * key_dim]
  const float* q_bias = nullptr;
  const float* k_scale = nullptr;
  const float* k_bias = nullptr;
  const float* norm_weight = nullptr;  // [heads * value_dim]
  const float* decay = nullptr;        // [heads], in (0, 1]; null: all 1
  StateView state;  // [slots][heads, key_dim, value_dim], in/out
  AttentionReplay replay = {};
  float* out = nullptr;  // [rows, heads * value_dim]
};

}  // namespace chela

#endif  // CHELA_KERNELS_LINEAR_ATTENTION_H_
