#include "models/weights.h"

#include "kernels/status_macros.h"
#include "models/random_tensors.h"
#include "models/stored_tensors.h"
#include "models/tensor_files.h"
#include "models/tensor_values.h"
#include "models/weights_builder.h"

namespace chela {
namespace {

int64_t Bytes(const std::unique_ptr<Matrix>& matrix) {
  return matrix == nullptr ? 0 : static_cast<int64_t>(matrix->size_bytes());
}

// A checkpoint packed as another type is another model.
std::string Fingerprint(std::string of_tensors, DType stored, DType packed) {
  if (stored == packed) return of_tensors;
  ContentHash hash;
  hash.Add(of_tensors);
  hash.Add(Name(packed));
  return hash.Digits();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Weights>> Weights::Load(
    Backend& backend, const std::string& directory,
    std::optional<DType> matrices, int32_t attention_replay) {
  absl::StatusOr<ModelConfig> config = ModelConfig::Load(directory);
  if (!config.ok()) return config.status();
  CHELA_RETURN_IF_ERROR(config->SetAttentionReplay(attention_replay));
  const absl::StatusOr<TensorFiles> files = TensorFiles::Open(directory);
  if (!files.ok()) return files.status();
  absl::StatusOr<StoredTensors> tensors =
      StoredTensors::Create(*config, files->tensors(), directory);
  if (!tensors.ok()) return tensors.status();
  const DType packed = matrices.value_or(config->torch_dtype);
  WeightsBuilder builder(backend, *config, *tensors, packed);
  return builder.Build(
      Fingerprint(tensors->Fingerprint(*config), config->torch_dtype, packed));
}

absl::StatusOr<std::unique_ptr<Weights>> Weights::Random(
    Backend& backend, const ModelConfig& config, uint64_t seed,
    std::optional<DType> matrices) {
  RandomTensors tensors(seed);
  const DType packed = matrices.value_or(config.torch_dtype);
  WeightsBuilder builder(backend, config, tensors, packed);
  return builder.Build(
      Fingerprint(tensors.Fingerprint(config), config.torch_dtype, packed));
}

int64_t Weights::size_bytes() const {
  int64_t bytes = Bytes(embedding_) + Bytes(head_);
  for (const std::unique_ptr<Buffer>& buffer : vectors_) {
    bytes += static_cast<int64_t>(buffer->size_bytes());
  }
  for (const LayerWeights& layer : layers_) {
    bytes += Bytes(layer.projections) + Bytes(layer.value_proj) +
             Bytes(layer.out_proj) + Bytes(layer.ffn_up) +
             Bytes(layer.ffn_down);
    if (layer.explicit_kernel != nullptr) {
      bytes += static_cast<int64_t>(layer.explicit_kernel->size_bytes());
    }
  }
  return bytes;
}

}  // namespace chela
