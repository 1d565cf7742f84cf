#include "tests/support/tiny_model.h"

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>

#include "models/tensor_specs.h"
#include "tests/reference/rounding.h"

namespace chela::test_support {
namespace {

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() &&
         text.compare(text.size() - end.size(), end.size(), end) == 0;
}

std::vector<double> RandomValues(const TensorSpec& spec, uint64_t seed) {
  // The name is part of the seed: a tensor keeps its values when options add
  // or remove others.
  uint64_t mixed = seed;
  for (const char c : spec.name) {
    mixed = mixed * 1099511628211u + static_cast<unsigned char>(c);
  }
  std::mt19937_64 random(mixed);
  std::normal_distribution<double> normal;
  double mean = 0;
  double deviation = 1;
  if (spec.name == "model.embed_tokens.weight") {
    deviation = 1;
  } else if (spec.shape.size() > 1) {
    deviation = 1 / std::sqrt(static_cast<double>(spec.shape.back()));
  } else if (EndsWith(spec.name, "bias")) {
    deviation = 0.3;
  } else {
    mean = 1;
    deviation = 0.2;
  }
  std::vector<double> values(static_cast<size_t>(spec.elements()));
  for (double& value : values) value = mean + deviation * normal(random);
  if (spec.decay) {
    std::uniform_real_distribution<double> decay(0.8, 1.0);
    for (double& value : values) value = decay(random);
    values.back() = 1;
  }
  return values;
}

}  // namespace

std::string SafetensorsBytes(const std::vector<TensorToWrite>& tensors) {
  nlohmann::json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const TensorToWrite& tensor : tensors) {
    const size_t begin = data.size();
    data += tensor.bytes;
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {begin, data.size()}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  std::string file(sizeof(length), '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  return file + text + data;
}

std::string TensorBytes(std::span<const double> values, DType dtype) {
  std::string bytes(values.size() * SizeOf(dtype), '\0');
  for (size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::kF32) {
      const float value = static_cast<float>(values[i]);
      std::memcpy(&bytes[i * 4], &value, 4);
    } else {
      const uint16_t value =
          reference::Encode16(dtype, reference::RoundTo(dtype, values[i]));
      std::memcpy(&bytes[i * 2], &value, 2);
    }
  }
  return bytes;
}

ModelConfig TinyConfig() {
  ModelConfig config;
  config.vocab_size = 258;
  config.hidden_size = 16;
  config.num_hidden_layers = 2;
  config.num_heads = 2;
  config.shared_dim = 8;
  config.value_dim = 24;
  config.intermediate_size = 20;
  config.norm_eps = 1e-5f;
  config.short_conv_kernel_size = 3;
  config.long_conv_length = 32;
  config.long_conv_base_length = 4;
  config.bos_token_id = 256;
  config.eos_token_id = 257;
  config.add_bos_token = true;
  config.torch_dtype = DType::kF32;
  config.bytes_tokenizer = true;
  return config;
}

std::vector<TensorToWrite> TinyTensors(const ModelConfig& config,
                                       const TinyOptions& options) {
  std::vector<TensorToWrite> tensors;
  for (const TensorSpec& spec : TensorSpecs(config)) {
    if (spec.decay && !options.decay) continue;
    // bf16 would round a decay just below 1 to 1, which is a valid one.
    const DType dtype = spec.matrix ? config.torch_dtype : options.vectors;
    tensors.push_back({spec.name, Name(dtype), spec.shape,
                       TensorBytes(RandomValues(spec, options.seed), dtype)});
  }
  return tensors;
}

TinyModel::TinyModel(const ModelConfig& config, const TinyOptions& options)
    : TinyModel(config.ToJson(), TinyTensors(config, options)) {}

TinyModel::TinyModel(const std::string& config_json,
                     const std::vector<TensorToWrite>& tensors) {
  directory_.Write("config.json", config_json);
  directory_.Write("model.safetensors", SafetensorsBytes(tensors));
}

}  // namespace chela::test_support
