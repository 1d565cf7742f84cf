#ifndef CHELA_MODELS_RANDOM_TENSORS_H_
#define CHELA_MODELS_RANDOM_TENSORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/model_config.h"
#include "models/tensor_source.h"

namespace chela {

// Tensors of an initialised model, made when they are asked for: one matrix
// exists at a time, filled by all cores. A tensor's values depend on `seed` and
// its name only. Matrices are uniform with variance 1 / inputs, convolutions
// with variance 1 / taps, norm weights and scales 1, biases 0, decays 1 -
// 2^-(5+2h) for head h and 1 for the last.
class RandomTensors final : public TensorSource {
 public:
  explicit RandomTensors(uint64_t seed) : seed_(seed) {}

  bool Has(const TensorSpec&) const override { return true; }
  absl::StatusOr<std::vector<float>> Vector(const TensorSpec& spec) override;
  absl::StatusOr<HostMatrix> Matrix(const TensorSpec& spec) override;

  std::string Fingerprint(const ModelConfig& config) const;

 private:
  void Uniform(const TensorSpec& spec, double variance, float* values) const;

  uint64_t seed_;
};

}  // namespace chela

#endif  // CHELA_MODELS_RANDOM_TENSORS_H_
