#ifndef CHELA_TESTS_REFERENCE_LINEAR_ATTENTION_H_
#define CHELA_TESTS_REFERENCE_LINEAR_ATTENTION_H_

#include <cstdint>
#include <vector>

#include "kernels/linear_attention.h"
#include "tests/reference/real.h"

namespace chela::reference {

// Weights of a LinearAttention, in host memory.
struct AttentionWeights {
  int32_t heads = 1;
  int32_t key_dim = 1;
  int32_t value_dim = 1;
  FeatureMap feature_map = FeatureMap::kElu1;
  float norm_eps = 1e-5f;
  std::vector<float> q_scale, q_bias, k_scale, k_bias;  // [heads key_dim]
  std::vector<float> norm_weight;                       // [heads value_dim]
  std::vector<float> decay;                             // [heads]; empty: 1
};

struct AttentionResult {
  std::vector<std::vector<Real>> out;  // [tokens][heads value_dim]
  std::vector<Real> state;  // [heads, key_dim, value_dim], at the end
};

// A whole sequence from the zero state. shared [tokens][heads key_dim]; value
// and reset [tokens][heads value_dim].
AttentionResult LinearAttention(const AttentionWeights& weights,
                                const std::vector<std::vector<float>>& shared,
                                const std::vector<std::vector<float>>& value,
                                const std::vector<std::vector<float>>& reset);

}  // namespace chela::reference

#endif  // CHELA_TESTS_REFERENCE_LINEAR_ATTENTION_H_
