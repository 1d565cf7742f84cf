#include "tests/reference/chela_model.h"

#include <cmath>

#include "tests/reference/rounding.h"

namespace chela::reference {
namespace {

using Vector = std::vector<double>;
using Rows = std::vector<Vector>;  // [tokens][width]

double Silu(double s) { return s / (1 + std::exp(-s)); }
double Sigmoid(double s) { return 1 / (1 + std::exp(-s)); }

double Phi(FeatureMap map, double s) {
  switch (map) {
    case FeatureMap::kElu1:
      return s > 0 ? s + 1 : std::exp(s);
    case FeatureMap::kSilu:
      return Silu(s);
    case FeatureMap::kIdentity:
      return s;
  }
  return 0;
}

// The tensors of one layer, or those outside, by short name.
class Scope {
 public:
  Scope(const Checkpoint& checkpoint, std::string prefix)
      : checkpoint_(checkpoint), prefix_(std::move(prefix)) {}
  bool Has(const std::string& name) const {
    return checkpoint_.tensors.count(prefix_ + name) != 0;
  }
  const Vector& operator[](const std::string& name) const {
    return checkpoint_.tensors.at(prefix_ + name);
  }
  const ModelConfig& config() const { return checkpoint_.config; }

  // x W^T (+ b), [out, in] weights; both operands rounded to torch_dtype.
  Rows Product(const Rows& x, const std::string& name,
               const std::string& bias = "") const {
    const DType dtype = config().torch_dtype;
    const bool narrow = dtype != DType::kF32;
    Vector weight = (*this)[name];
    if (narrow) {
      for (double& value : weight) value = RoundTo(dtype, value);
    }
    const size_t in = x.empty() ? 1 : x[0].size();
    const size_t out = weight.size() / in;
    Rows result(x.size(), Vector(out));
    for (size_t t = 0; t < x.size(); ++t) {
      Vector row = x[t];
      if (narrow) {
        for (double& value : row) value = RoundTo(dtype, value);
      }
      for (size_t o = 0; o < out; ++o) {
        double sum = bias.empty() ? 0 : (*this)[bias][o];
        for (size_t i = 0; i < in; ++i) sum += row[i] * weight[o * in + i];
        result[t][o] = sum;
      }
    }
    return result;
  }

  Rows Norm(const Rows& x, const std::string& name) const {
    const Vector& weight = (*this)[name + ".weight"];
    const bool layer_norm = config().norm == NormKind::kLayer;
    Rows result = x;
    for (Vector& row : result) {
      const double n = static_cast<double>(row.size());
      double mean = 0;
      if (layer_norm) {
        for (const double value : row) mean += value / n;
      }
      double square = 0;
      for (const double value : row) square += (value - mean) * (value - mean);
      const double scale = 1 / std::sqrt(square / n + config().norm_eps);
      for (size_t i = 0; i < row.size(); ++i) {
        row[i] = (row[i] - mean) * scale * weight[i] +
                 (layer_norm ? (*this)[name + ".bias"][i] : 0);
      }
    }
    return result;
  }

 private:
  const Checkpoint& checkpoint_;
  std::string prefix_;
};

Rows ShortConvolution(const Scope& layer, const Rows& u) {
  const size_t taps =
      static_cast<size_t>(layer.config().short_conv_kernel_size);
  const Vector& weight = layer["short_conv.weight"];
  Rows a = u;
  for (size_t t = 0; t < u.size(); ++t) {
    for (size_t i = 0; i < u[t].size(); ++i) {
      double sum = layer["short_conv.bias"][i];
      for (size_t m = 0; m < taps && m <= t; ++m) {
        sum += weight[i * taps + taps - 1 - m] * u[t - m][i];
      }
      a[t][i] = Silu(sum);
    }
  }
  return a;
}

Rows ExplicitConvolution(const Scope& layer, const Rows& a) {
  const size_t length = static_cast<size_t>(layer.config().long_conv_length);
  const Vector& kernel = layer["long_conv.kernel"];
  Rows c = a;
  for (size_t t = 0; t < a.size(); ++t) {
    for (size_t i = 0; i < a[t].size(); ++i) {
      double sum = layer["long_conv.skip"][i] * a[t][i];
      for (size_t m = 0; m < length && m <= t; ++m) {
        sum += kernel[i * length + m] * a[t - m][i];
      }
      c[t][i] = sum;
    }
  }
  return c;
}

// means[b] = mean of a over positions b w .. (b + 1) w - 1, complete blocks.
Rows BlockMeans(const Rows& a, size_t w) {
  Rows means(a.size() / w, Vector(a[0].size(), 0.0));
  for (size_t t = 0; t < means.size() * w; ++t) {
    for (size_t i = 0; i < a[t].size(); ++i) {
      means[t / w][i] += a[t][i] / static_cast<double>(w);
    }
  }
  return means;
}

Rows HierarchicalConvolution(const Scope& layer, const Rows& a) {
  const int64_t base = layer.config().long_conv_base_length;
  const int64_t half = base / 2;
  const int64_t width = layer.config().hidden_size;
  const int64_t tokens = static_cast<int64_t>(a.size());
  Rows c = a;
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < width; ++i) {
      double sum = layer["long_conv.skip"][i] * a[t][i];
      for (int64_t m = 0; m < base && m <= t; ++m) {
        sum += layer["long_conv.taps0"][i * base + m] * a[t - m][i];
      }
      c[t][i] = sum;
    }
  }
  const Vector& taps = layer["long_conv.taps"];
  for (int64_t j = 1; j <= layer.config().levels(); ++j) {
    const int64_t w = int64_t{1} << j;
    const Rows means = BlockMeans(a, static_cast<size_t>(w));
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t newest = (t + 1) / w - 1 - (half - 1);
      for (int64_t m = 0; m < half && m <= newest; ++m) {
        for (int64_t i = 0; i < width; ++i) {
          c[t][i] +=
              taps[((j - 1) * width + i) * half + m] * means[newest - m][i];
        }
      }
    }
  }
  return c;
}

// phi(scale . SiLU(shared) + bias)
Rows Features(const Scope& layer, const Rows& shared, const std::string& name) {
  Rows features = shared;
  for (Vector& row : features) {
    for (size_t i = 0; i < row.size(); ++i) {
      row[i] = Phi(layer.config().feature_map,
                   layer["attention." + name + "_scale"][i] * Silu(row[i]) +
                       layer["attention." + name + "_bias"][i]);
    }
  }
  return features;
}

// o_t = sum_{s <= t} decay^(t-s) (phi(q_t) . phi(k_s)) w_s, per head, then the
// norm of each head and the reset gate.
Rows Attention(const Scope& layer, const Rows& shared, const Rows& value,
               const Rows& reset) {
  const ModelConfig& config = layer.config();
  const Rows q = Features(layer, shared, "q");
  const Rows k = Features(layer, shared, "k");
  const size_t key_dim = static_cast<size_t>(config.key_dim());
  const size_t value_dim = static_cast<size_t>(config.head_value_dim());
  Rows out(value.size(), Vector(value[0].size(), 0.0));
  for (size_t h = 0; h < static_cast<size_t>(config.num_heads); ++h) {
    const double decay =
        layer.Has("attention.decay") ? layer["attention.decay"][h] : 1;
    for (size_t t = 0; t < out.size(); ++t) {
      double* o = &out[t][h * value_dim];
      double weight = 1;
      for (size_t s = t + 1; s-- > 0; weight *= decay) {
        double score = 0;
        for (size_t i = h * key_dim; i < (h + 1) * key_dim; ++i) {
          score += q[t][i] * k[s][i];
        }
        for (size_t i = 0; i < value_dim; ++i) {
          o[i] += weight * score * Silu(value[s][h * value_dim + i]);
        }
      }
      double square = 0;
      for (size_t i = 0; i < value_dim; ++i) square += o[i] * o[i];
      const double scale =
          1 /
          std::sqrt(square / static_cast<double>(value_dim) + config.norm_eps);
      for (size_t i = 0; i < value_dim; ++i) {
        const size_t at = h * value_dim + i;
        o[i] *= scale * layer["attention.norm.weight"][at] * Silu(reset[t][at]);
      }
    }
  }
  return out;
}

Rows FeedForward(const Scope& layer, const Rows& y) {
  const Rows n = layer.Norm(y, "norm2");
  Rows hidden = layer.Product(n, "ffn.up_proj.weight");
  if (layer.config().ffn == FeedForwardKind::kSwiglu) {
    const Rows gate = layer.Product(n, "ffn.gate_proj.weight");
    for (size_t t = 0; t < y.size(); ++t) {
      for (size_t i = 0; i < hidden[t].size(); ++i) {
        hidden[t][i] *= Silu(gate[t][i]);
      }
    }
  } else {
    for (Vector& row : hidden) {
      for (double& value : row) value = Silu(value);
    }
  }
  Rows out = layer.Product(hidden, "ffn.down_proj.weight");
  for (size_t t = 0; t < y.size(); ++t) {
    for (size_t i = 0; i < y[t].size(); ++i) out[t][i] += y[t][i];
  }
  return out;
}

Rows Layer(const Scope& layer, const Rows& x) {
  const auto projection = [&](const Rows& from, const std::string& name) {
    return layer.Product(from, "attention." + name + ".weight",
                         "attention." + name + ".bias");
  };
  const Rows u = layer.Norm(x, "norm1");
  const Rows a = ShortConvolution(layer, u);
  const Rows c = layer.config().long_conv_kind == LongConvKind::kExplicit
                     ? ExplicitConvolution(layer, a)
                     : HierarchicalConvolution(layer, a);
  const Rows gated =
      Attention(layer, projection(c, "shared_proj"),
                projection(u, "value_proj"), projection(c, "reset_gate"));
  const Rows candidate = projection(c, "candidate_proj");
  const Rows gate = projection(c, "update_gate");
  Rows y = layer.Product(gated, "attention.out_proj.weight");
  for (size_t t = 0; t < y.size(); ++t) {
    for (size_t i = 0; i < y[t].size(); ++i) {
      const double g = Sigmoid(gate[t][i]);
      y[t][i] = g * Silu(candidate[t][i] + y[t][i]) + (1 - g) * x[t][i];
    }
  }
  return FeedForward(layer, y);
}

}  // namespace

std::vector<std::vector<double>> Logits(const Checkpoint& checkpoint,
                                        const std::vector<int32_t>& tokens) {
  const ModelConfig& config = checkpoint.config;
  const Scope model(checkpoint, "");
  const size_t width = static_cast<size_t>(config.hidden_size);
  // The table is a matrix like the others: rounded to torch_dtype.
  const Vector& table = model["model.embed_tokens.weight"];
  Rows x(tokens.size(), Vector(width));
  for (size_t t = 0; t < tokens.size(); ++t) {
    for (size_t i = 0; i < width; ++i) {
      const double value = table[static_cast<size_t>(tokens[t]) * width + i];
      x[t][i] =
          RoundTo(config.torch_dtype, value) * config.embedding_multiplier;
    }
  }
  for (int32_t i = 0; i < config.num_hidden_layers; ++i) {
    x = Layer(Scope(checkpoint, "model.layers." + std::to_string(i) + "."), x);
  }
  const std::string head = config.tie_word_embeddings
                               ? "model.embed_tokens.weight"
                               : "lm_head.weight";
  return model.Product(model.Norm(x, "model.norm"), head);
}

}  // namespace chela::reference
