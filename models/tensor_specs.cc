#include "models/tensor_specs.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace chela {
namespace {

// Collects specs under one prefix.
class List {
 public:
  List(std::vector<TensorSpec>& specs, const ModelConfig& config)
      : specs_(specs), config_(config) {}

  void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }
  void Vector(const char* name, std::vector<int64_t> shape) {
    specs_.push_back({absl::StrCat(prefix_, name), std::move(shape)});
  }
  void Matrix(const char* name, int64_t out, int64_t in) {
    specs_.push_back({absl::StrCat(prefix_, name), {out, in}, true});
  }
  void Projection(const char* name, int64_t out, int64_t in) {
    Matrix(absl::StrCat(name, ".weight").c_str(), out, in);
    Vector(absl::StrCat(name, ".bias").c_str(), {out});
  }
  void Norm(const char* name) {
    Vector(absl::StrCat(name, ".weight").c_str(), {config_.hidden_size});
    if (config_.norm != NormKind::kLayer) return;
    Vector(absl::StrCat(name, ".bias").c_str(), {config_.hidden_size});
  }

 private:
  std::vector<TensorSpec>& specs_;
  const ModelConfig& config_;
  std::string prefix_;
};

void AddConvolutions(const ModelConfig& config, List& list) {
  const int64_t d = config.hidden_size;
  list.Vector("short_conv.weight", {d, config.short_conv_kernel_size});
  list.Vector("short_conv.bias", {d});
  list.Vector("long_conv.skip", {d});
  if (config.long_conv_kind == LongConvKind::kExplicit) {
    list.Vector("long_conv.kernel", {d, config.long_conv_length});
    return;
  }
  const int64_t base = config.long_conv_base_length;
  list.Vector("long_conv.taps0", {d, base});
  list.Vector("long_conv.taps", {config.levels(), d, base / 2});
}

void AddAttention(const ModelConfig& config, List& list) {
  const int64_t d = config.hidden_size;
  const int64_t z = config.shared_dim;
  const int64_t v = config.value_dim;
  list.Projection("attention.shared_proj", z, d);
  list.Projection("attention.value_proj", v, d);
  list.Projection("attention.reset_gate", v, d);
  list.Projection("attention.update_gate", d, d);
  list.Projection("attention.candidate_proj", d, d);
  for (const char* name : {"attention.q_scale", "attention.q_bias",
                           "attention.k_scale", "attention.k_bias"}) {
    list.Vector(name, {z});
  }
  list.Vector("attention.norm.weight", {v});
  list.Matrix("attention.out_proj.weight", d, v);
}

}  // namespace

std::string LayerPrefix(int32_t layer) {
  return absl::StrCat("model.layers.", layer, ".");
}

std::vector<TensorSpec> TensorSpecs(const ModelConfig& config) {
  const int64_t d = config.hidden_size;
  const int64_t f = config.intermediate_size;
  std::vector<TensorSpec> specs;
  List list(specs, config);
  list.Matrix("model.embed_tokens.weight", config.vocab_size, d);
  list.Norm("model.norm");
  if (!config.tie_word_embeddings) {
    list.Matrix("lm_head.weight", config.vocab_size, d);
  }
  for (int32_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    list.set_prefix(LayerPrefix(layer));
    list.Norm("norm1");
    AddConvolutions(config, list);
    AddAttention(config, list);
    list.Vector("attention.decay", {config.num_heads});
    specs.back().decay = true;
    list.Norm("norm2");
    if (config.ffn == FeedForwardKind::kSwiglu) {
      list.Matrix("ffn.gate_proj.weight", f, d);
    }
    list.Matrix("ffn.up_proj.weight", f, d);
    list.Matrix("ffn.down_proj.weight", d, f);
  }
  return specs;
}

}  // namespace chela
