#ifndef CHELA_MODELS_WEIGHTS_H_
#define CHELA_MODELS_WEIGHTS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "models/model_config.h"

namespace chela {

// One layer's tensors as the ops read them. Vectors are float32 in backend
// memory; convolution weights are transposed to [taps, hidden].
struct LayerWeights {
  Norm norm1, norm2;
  const float* short_weight = nullptr;  // [K, d]
  const float* short_bias = nullptr;    // [d]
  const float* long_skip = nullptr;     // [d]
  const float* taps0 = nullptr;         // [B, d], hierarchical
  const float* taps = nullptr;          // [S, B/2, d], hierarchical
  std::unique_ptr<ExplicitKernel> explicit_kernel;
  std::unique_ptr<Matrix> projections;  // shared, reset, update, candidate
  const float* projections_bias = nullptr;
  std::unique_ptr<Matrix> value_proj;
  const float* value_bias = nullptr;
  const float* q_scale = nullptr;  // [z]
  const float* q_bias = nullptr;
  const float* k_scale = nullptr;
  const float* k_bias = nullptr;
  const float* attention_norm = nullptr;  // [v]
  const float* decay = nullptr;           // [H] or null
  std::unique_ptr<Matrix> out_proj;
  std::unique_ptr<Matrix> ffn_up;  // gate then up
  std::unique_ptr<Matrix> ffn_down;
};

// All tensors of one checkpoint in one backend's memory: names, shapes, types
// and values checked at load, immutable afterwards.
class Weights {
 public:
  // Reads `directory`: config.json and model.safetensors or its shards. An
  // error is one line that names the file and the tensor or field, what was
  // found and what was wanted. `backend` must outlive the result. Matrices are
  // packed as `matrices`; none: as the checkpoint's torch_dtype.
  // attention_replay: ModelConfig's.
  static absl::StatusOr<std::unique_ptr<Weights>> Load(
      Backend& backend, const std::string& directory,
      std::optional<DType> matrices = std::nullopt,
      int32_t attention_replay = 0);
  // Random weights of any config (for benchmarks): matrices of
  // config.torch_dtype, packed as above, with the scale of an initialised
  // model, reproducible from `seed`.
  static absl::StatusOr<std::unique_ptr<Weights>> Random(
      Backend& backend, const ModelConfig& config, uint64_t seed,
      std::optional<DType> matrices = std::nullopt);

  const ModelConfig& config() const { return config_; }
  const std::vector<LayerWeights>& layers() const { return layers_; }
  const Matrix& embedding() const { return *embedding_; }
  const Matrix& head() const { return head_ ? *head_ : *embedding_; }
  const Norm& final_norm() const { return final_norm_; }

  // Bytes in backend memory: packed matrices, vectors, kernels and spectra.
  int64_t size_bytes() const;
  // A 64-bit hash of config.json, tensors and how they are packed: two
  // checkpoints with the same one and the same layout of the state have
  // interchangeable states. Hexadecimal, 16 digits.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  friend class WeightsBuilder;
  Weights() = default;

  ModelConfig config_;
  std::vector<std::unique_ptr<Buffer>> vectors_;
  std::vector<LayerWeights> layers_;
  std::unique_ptr<Matrix> embedding_;
  std::unique_ptr<Matrix> head_;  // null if tied
  Norm final_norm_;
  std::string fingerprint_;
};

}  // namespace chela

#endif  // CHELA_MODELS_WEIGHTS_H_
