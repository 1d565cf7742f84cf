#include "models/model_config.h"

#include <bit>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "models/json_text.h"
#include "models/tensor_specs.h"

namespace chela {
namespace {

// Upper bounds of the sizes. With them every product in this layer stays
// below 2^62: the largest, the bytes of an explicit state, is
// 2^18 channels * 2^28 rows * 2^12 layers * 4.
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr int64_t kMaxWidth = int64_t{1} << 18;
constexpr int64_t kMaxIntermediate = int64_t{1} << 20;
constexpr int64_t kMaxLayers = int64_t{1} << 12;
constexpr int64_t kMaxShortTaps = int64_t{1} << 10;
constexpr int64_t kMaxLongLength = int64_t{1} << 28;
constexpr int64_t kMaxBaseLength = int64_t{1} << 16;
constexpr size_t kMaxConfigBytes = size_t{1} << 20;

const std::vector<std::string> kFeedForwards = {"swiglu", "silu"};
const std::vector<std::string> kNorms = {"rmsnorm", "layernorm"};
const std::vector<std::string> kFeatureMaps = {"elu1", "silu", "identity"};
const std::vector<std::string> kLongConvs = {"explicit", "hierarchical"};
const std::vector<std::string> kDTypes = {"float32", "bfloat16", "float16"};

void AddUnknownKeys(const JsonReader& reader, ModelConfig& config) {
  for (std::string& key : reader.UnknownKeys()) {
    config.unknown_keys.push_back(std::move(key));
  }
}

void ReadIdentity(const nlohmann::json& json, JsonReader& reader) {
  reader.Choice("model_type", {"chela"});
  if (!reader.Has("architectures") ||
      json["architectures"] != nlohmann::json({"ChelaForCausalLM"})) {
    reader.Fail("architectures",
                json.contains("architectures") ? Shown(json["architectures"])
                                               : "missing",
                "[\"ChelaForCausalLM\"]");
  }
}

void ReadSizes(JsonReader& reader, ModelConfig& config) {
  config.vocab_size = reader.Int32("vocab_size", {1, kMaxVocab});
  config.hidden_size = reader.Int32("hidden_size", {1, kMaxWidth});
  config.num_hidden_layers = reader.Int32("num_hidden_layers", {1, kMaxLayers});
  config.num_heads = reader.Int32("num_heads", {1, kMaxWidth});
  config.shared_dim = reader.Int32("shared_dim", {1, kMaxWidth});
  config.value_dim = reader.Int32("value_dim", {1, kMaxWidth});
  config.intermediate_size =
      reader.Int32("intermediate_size", {1, kMaxIntermediate});
  const auto check_heads = [&](const char* key, int32_t dim) {
    if (config.num_heads > 0 && dim % config.num_heads == 0) return;
    reader.Fail(key, absl::StrCat(dim),
                absl::StrCat("a multiple of num_heads = ", config.num_heads));
  };
  check_heads("shared_dim", config.shared_dim);
  check_heads("value_dim", config.value_dim);
}

void ReadOptions(JsonReader& reader, ModelConfig& config) {
  constexpr double kFloatMax = std::numeric_limits<float>::max();
  config.ffn =
      static_cast<FeedForwardKind>(reader.Choice("ffn", kFeedForwards));
  config.norm = static_cast<NormKind>(reader.Choice("norm", kNorms));
  // Smaller ones would be 0 in float32, and a row of zeros would give NaN.
  config.norm_eps = static_cast<float>(reader.Number(
      "norm_eps", {std::numeric_limits<float>::min(), 1.0, false}));
  config.feature_map =
      static_cast<FeatureMap>(reader.Choice("feature_map", kFeatureMaps));
  config.embedding_multiplier = static_cast<float>(
      reader.Number("embedding_multiplier", {-kFloatMax, kFloatMax}, 1.0));
  config.tie_word_embeddings = reader.Boolean("tie_word_embeddings", false);
  config.torch_dtype =
      static_cast<DType>(reader.Choice("torch_dtype", kDTypes));
  config.max_position_trained = reader.Integer(
      "max_position_trained", {0, std::numeric_limits<int64_t>::max()}, 0);
}

void ReadTokens(JsonReader& reader, ModelConfig& config) {
  const int64_t last_id = int64_t{config.vocab_size} - 1;
  config.bos_token_id = reader.Int32("bos_token_id", {0, last_id});
  config.eos_token_id = reader.Int32("eos_token_id", {0, last_id});
  config.add_bos_token = reader.Boolean("add_bos_token");
  if (reader.Has("tokenizer")) {
    reader.Choice("tokenizer", {"bytes"});
    config.bytes_tokenizer = true;
  }
}

// N = B 2^S with B even and >= 4, S >= 1.
void CheckHierarchy(JsonReader& reader, const ModelConfig& config) {
  const int64_t base = config.long_conv_base_length;
  const int64_t length = config.long_conv_length;
  if (base % 2 != 0) {
    reader.Fail("base_length", absl::StrCat(base), "an even number");
    return;
  }
  const bool fits = length % base == 0 && length / base >= 2 &&
                    std::has_single_bit(static_cast<uint64_t>(length / base));
  if (fits) return;
  reader.Fail(
      "length", absl::StrCat(length),
      absl::StrCat("base_length * 2^S, S >= 1, with base_length = ", base));
}

absl::Status ReadConvolutions(JsonReader& reader, ModelConfig& config) {
  if (const nlohmann::json* json = reader.Object("short_conv")) {
    JsonReader nested(*json, "short_conv.");
    config.short_conv_kernel_size =
        nested.Int32("kernel_size", {1, kMaxShortTaps});
    CHELA_RETURN_IF_ERROR(nested.status());
    AddUnknownKeys(nested, config);
  }
  if (const nlohmann::json* json = reader.Object("long_conv")) {
    JsonReader nested(*json, "long_conv.");
    config.long_conv_kind =
        static_cast<LongConvKind>(nested.Choice("kind", kLongConvs));
    config.long_conv_length = nested.Integer("length", {1, kMaxLongLength});
    if (config.long_conv_kind == LongConvKind::kHierarchical) {
      config.long_conv_base_length =
          nested.Int32("base_length", {4, kMaxBaseLength});
      CheckHierarchy(nested, config);
    } else if (nested.Has("base_length")) {
      nested.Integer("base_length", {0, kMaxBaseLength});  // Has no meaning.
    }
    CHELA_RETURN_IF_ERROR(nested.status());
    AddUnknownKeys(nested, config);
  }
  return absl::OkStatus();
}

// The shortest decimal that is `value` again when read as a float, so that
// 1e-5 is not written as 9.999999747378752e-06.
double ShortestDecimal(float value) {
  char text[32] = {};
  std::to_chars(text, text + sizeof(text) - 1, value);
  return std::strtod(text, nullptr);
}

}  // namespace

absl::StatusOr<ModelConfig> ModelConfig::Parse(const std::string& json) {
  const absl::StatusOr<nlohmann::json> object = ParseJsonObject(json);
  if (!object.ok()) return object.status();
  ModelConfig config;
  JsonReader reader(*object);
  ReadIdentity(*object, reader);
  ReadSizes(reader, config);
  ReadOptions(reader, config);
  ReadTokens(reader, config);
  const absl::Status convolutions = ReadConvolutions(reader, config);
  CHELA_RETURN_IF_ERROR(reader.status());
  CHELA_RETURN_IF_ERROR(convolutions);
  AddUnknownKeys(reader, config);
  return config;
}

absl::StatusOr<ModelConfig> ModelConfig::Load(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/config.json");
  const absl::StatusOr<std::string> text = ReadTextFile(path, kMaxConfigBytes);
  if (!text.ok()) return text.status();
  absl::StatusOr<ModelConfig> config = Parse(*text);
  if (!config.ok()) {
    return absl::Status(config.status().code(),
                        absl::StrCat(path, ": ", config.status().message()));
  }
  return config;
}

std::string ModelConfig::ToJson() const {
  nlohmann::json json = {
      {"model_type", "chela"},
      {"architectures", {"ChelaForCausalLM"}},
      {"vocab_size", vocab_size},
      {"hidden_size", hidden_size},
      {"num_hidden_layers", num_hidden_layers},
      {"num_heads", num_heads},
      {"shared_dim", shared_dim},
      {"value_dim", value_dim},
      {"intermediate_size", intermediate_size},
      {"ffn", kFeedForwards[static_cast<size_t>(ffn)]},
      {"norm", kNorms[static_cast<size_t>(norm)]},
      {"norm_eps", ShortestDecimal(norm_eps)},
      {"feature_map", kFeatureMaps[static_cast<size_t>(feature_map)]},
      {"short_conv", {{"kernel_size", short_conv_kernel_size}}},
      {"long_conv",
       {{"kind", kLongConvs[static_cast<size_t>(long_conv_kind)]},
        {"length", long_conv_length}}},
      {"embedding_multiplier", ShortestDecimal(embedding_multiplier)},
      {"tie_word_embeddings", tie_word_embeddings},
      {"bos_token_id", bos_token_id},
      {"eos_token_id", eos_token_id},
      {"add_bos_token", add_bos_token},
      {"torch_dtype", kDTypes[static_cast<size_t>(torch_dtype)]}};
  if (long_conv_kind == LongConvKind::kHierarchical) {
    json["long_conv"]["base_length"] = long_conv_base_length;
  }
  if (max_position_trained > 0) {
    json["max_position_trained"] = max_position_trained;
  }
  if (bytes_tokenizer) json["tokenizer"] = "bytes";
  return json.dump();
}

absl::Status ModelConfig::SetAttentionReplay(int32_t period) {
  if (period != 0 && (period < kMinReplay || period > kMaxReplay)) {
    return absl::InvalidArgumentError(
        absl::StrCat("attention replay: ", period, "; want 0 (off) or ",
                     kMinReplay, " to ", kMaxReplay));
  }
  attention_replay = period;
  return absl::OkStatus();
}

int32_t ModelConfig::levels() const {
  if (long_conv_kind == LongConvKind::kExplicit) return 0;
  return std::countr_zero(
      static_cast<uint64_t>(long_conv_length / long_conv_base_length));
}

int64_t ModelConfig::long_conv_state_rows() const {
  if (long_conv_kind == LongConvKind::kExplicit) {
    return static_cast<int64_t>(
        std::bit_ceil(static_cast<uint64_t>(long_conv_length)));
  }
  const int64_t base = long_conv_base_length;
  return base + levels() * (base / 2 + 1) + levels();
}

StateLayout ModelConfig::state_layout() const {
  StateLayout layout;
  layout.short_conv = 0;
  layout.attention = (int64_t{short_conv_kernel_size} - 1) * hidden_size;
  layout.replay =
      layout.attention + int64_t{num_heads} * key_dim() * head_value_dim();
  layout.long_conv = layout.replay + int64_t{attention_replay} *
                                         (int64_t{shared_dim} + value_dim);
  layout.layer_floats = layout.long_conv + long_conv_state_rows() * hidden_size;
  layout.slot_floats = layout.layer_floats * num_hidden_layers;
  return layout;
}

int64_t ModelConfig::parameters() const {
  int64_t elements = 0;
  for (const TensorSpec& spec : TensorSpecs(*this)) elements += spec.elements();
  return elements;
}

}  // namespace chela
