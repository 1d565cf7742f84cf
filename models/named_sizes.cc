#include "models/named_sizes.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "models/json_text.h"

namespace chela {
namespace {

struct Sizes {
  const char* name;
  int32_t hidden, layers, heads, shared, value, intermediate, vocab;
};
constexpr Sizes kSizes[] = {
    {"31m", 512, 8, 4, 128, 1024, 768, 8192},
    {"125m", 768, 12, 3, 192, 1536, 1536, 32768},
    {"350m", 1024, 24, 4, 256, 2048, 1408, 32768},
    {"1.3b", 2048, 24, 8, 512, 4096, 2688, 32768},
};

ModelConfig MakeConfig(const Sizes& sizes, LongConvKind kind) {
  ModelConfig config;
  config.vocab_size = sizes.vocab;
  config.hidden_size = sizes.hidden;
  config.num_hidden_layers = sizes.layers;
  config.num_heads = sizes.heads;
  config.shared_dim = sizes.shared;
  config.value_dim = sizes.value;
  config.intermediate_size = sizes.intermediate;
  config.norm_eps = 1e-5f;
  config.short_conv_kernel_size = 7;
  config.long_conv_kind = kind;
  config.long_conv_length = 8192;
  config.long_conv_base_length = kind == LongConvKind::kExplicit ? 0 : 16;
  config.tie_word_embeddings = true;
  config.bos_token_id = 1;
  config.eos_token_id = 2;
  config.add_bos_token = true;
  config.torch_dtype = DType::kBF16;
  return config;
}

}  // namespace

std::vector<std::string> NamedSizes() {
  std::vector<std::string> names;
  for (const Sizes& sizes : kSizes) names.emplace_back(sizes.name);
  return names;
}

absl::StatusOr<ModelConfig> NamedSize(const std::string& name,
                                      LongConvKind kind) {
  for (const Sizes& sizes : kSizes) {
    if (name == sizes.name) return MakeConfig(sizes, kind);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("size: ", Quoted(name), "; want one of ",
                   absl::StrJoin(NamedSizes(), ", ")));
}

}  // namespace chela
