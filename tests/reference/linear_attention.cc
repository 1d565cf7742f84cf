#include "tests/reference/linear_attention.h"

namespace chela::reference {
namespace {

Real Feature(FeatureMap map, const Real& x) {
  switch (map) {
    case FeatureMap::kElu1:
      return Elu1(x);
    case FeatureMap::kSilu:
      return Silu(x);
    case FeatureMap::kIdentity:
      return x;
  }
  return x;
}

}  // namespace

AttentionResult LinearAttention(const AttentionWeights& weights,
                                const std::vector<std::vector<float>>& shared,
                                const std::vector<std::vector<float>>& value,
                                const std::vector<std::vector<float>>& reset) {
  const auto heads = static_cast<size_t>(weights.heads);
  const auto key_dim = static_cast<size_t>(weights.key_dim);
  const auto value_dim = static_cast<size_t>(weights.value_dim);
  AttentionResult result;
  result.state.assign(heads * key_dim * value_dim, Real(0));
  for (size_t t = 0; t < shared.size(); ++t) {
    std::vector<Real> row;
    for (size_t h = 0; h < heads; ++h) {
      const Real decay(weights.decay.empty() ? 1.0 : weights.decay[h]);
      std::vector<Sum> sums(value_dim);
      for (size_t i = h * key_dim; i < (h + 1) * key_dim; ++i) {
        const Real zz = Silu(Real(shared[t][i]));
        const Real q =
            Feature(weights.feature_map,
                    Real(weights.q_scale[i]) * zz + Real(weights.q_bias[i]));
        const Real k =
            Feature(weights.feature_map,
                    Real(weights.k_scale[i]) * zz + Real(weights.k_bias[i]));
        for (size_t j = 0; j < value_dim; ++j) {
          const Real w = Silu(Real(value[t][h * value_dim + j]));
          Real& s = result.state[i * value_dim + j];
          s = decay * s + k * w;
          sums[j].Add(q * s);
        }
      }
      std::vector<Real> o;
      Sum squares;
      for (const Sum& sum : sums) {
        o.push_back(sum.Total());
        squares.Add(o.back() * o.back());
      }
      const Real mean = squares.Total() / Real(static_cast<double>(value_dim));
      const Real scale = Real(1) / Sqrt(mean + Real(double{weights.norm_eps}));
      for (size_t j = 0; j < value_dim; ++j) {
        const size_t at = h * value_dim + j;
        row.push_back(Silu(Real(reset[t][at])) *
                      (o[j] * scale * Real(weights.norm_weight[at])));
      }
    }
    result.out.push_back(row);
  }
  return result;
}

}  // namespace chela::reference
