#ifndef CHELA_MODELS_STORED_TENSORS_H_
#define CHELA_MODELS_STORED_TENSORS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/model_config.h"
#include "models/safetensors.h"
#include "models/tensor_source.h"

namespace chela {

// The tensors of a checkpoint, checked against its config.
class StoredTensors final : public TensorSource {
 public:
  // INVALID_ARGUMENT, one line that names the file and the tensor, what was
  // found and what was wanted: a tensor is missing or unknown, its shape or
  // type is not the config's, a value is NaN or infinite (or would be as
  // torch_dtype), a decay lies outside (0, 1]. Reads every byte once.
  // `tensors` must outlive the result; `directory` is for messages.
  static absl::StatusOr<StoredTensors> Create(const ModelConfig& config,
                                              const StoredTensorMap& tensors,
                                              const std::string& directory);

  bool Has(const TensorSpec& spec) const override;
  absl::StatusOr<std::vector<float>> Vector(const TensorSpec& spec) override;
  absl::StatusOr<HostMatrix> Matrix(const TensorSpec& spec) override;

  // Of config and tensors (names, types, shapes, bytes), whatever files hold
  // them: see Weights::fingerprint().
  std::string Fingerprint(const ModelConfig& config) const;

 private:
  explicit StoredTensors(const StoredTensorMap& tensors) : tensors_(&tensors) {}
  const StoredTensorMap* tensors_;
};

}  // namespace chela

#endif  // CHELA_MODELS_STORED_TENSORS_H_
