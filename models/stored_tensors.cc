#include "models/stored_tensors.h"

#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "models/json_text.h"
#include "models/tensor_values.h"

namespace chela {
namespace {

absl::Status CheckForm(const TensorSpec& spec, const StoredTensor& tensor) {
  if (!DTypeNamed(tensor.dtype).has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(
        tensor.label, ": type ", tensor.dtype, "; want F32, BF16 or F16"));
  }
  if (tensor.shape == spec.shape) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(tensor.label, ": shape ", ShapeText(tensor.shape), "; want ",
                   ShapeText(spec.shape), " by config.json"));
}

absl::Status CheckValues(const TensorSpec& spec, const StoredTensor& tensor,
                         DType matrix_dtype) {
  const DType stored = *DTypeNamed(tensor.dtype);
  const DType target = spec.matrix ? matrix_dtype : DType::kF32;
  if (const auto bad = FirstUnusable(tensor.data, stored, target)) {
    const size_t size = SizeOf(stored);
    const float value =
        Widen(tensor.data.subspan(*bad * size, size), stored)[0];
    return absl::InvalidArgumentError(
        absl::StrCat(tensor.label, ": element ", *bad, " is ", value,
                     "; want a finite ", Name(target)));
  }
  if (!spec.decay) return absl::OkStatus();
  const std::vector<float> values = Widen(tensor.data, stored);
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] > 0 && values[i] <= 1) continue;
    return absl::InvalidArgumentError(absl::StrCat(tensor.label, ": element ",
                                                   i, " is ", values[i],
                                                   "; want a decay in (0, 1]"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<StoredTensors> StoredTensors::Create(
    const ModelConfig& config, const StoredTensorMap& tensors,
    const std::string& directory) {
  const std::vector<TensorSpec> specs = TensorSpecs(config);
  std::set<std::string> known;
  for (const TensorSpec& spec : specs) {
    known.insert(spec.name);
    const auto found = tensors.find(spec.name);
    if (found != tensors.end()) {
      CHELA_RETURN_IF_ERROR(CheckForm(spec, found->second));
    } else if (!spec.decay) {
      return absl::InvalidArgumentError(
          absl::StrCat(directory, ": tensor ", Quoted(spec.name),
                       ": missing; want ", ShapeText(spec.shape)));
    }
  }
  for (const auto& [name, tensor] : tensors) {
    if (known.contains(name)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        tensor.label, ": unknown; want only tensors of config.json's model"));
  }
  // Last, since it reads the whole file.
  for (const TensorSpec& spec : specs) {
    const auto found = tensors.find(spec.name);
    if (found == tensors.end()) continue;
    CHELA_RETURN_IF_ERROR(CheckValues(spec, found->second, config.torch_dtype));
  }
  return StoredTensors(tensors);
}

bool StoredTensors::Has(const TensorSpec& spec) const {
  return tensors_->contains(spec.name);
}

absl::StatusOr<std::vector<float>> StoredTensors::Vector(
    const TensorSpec& spec) {
  const StoredTensor& tensor = tensors_->at(spec.name);
  return Widen(tensor.data, *DTypeNamed(tensor.dtype));
}

absl::StatusOr<HostMatrix> StoredTensors::Matrix(const TensorSpec& spec) {
  const StoredTensor& tensor = tensors_->at(spec.name);
  HostMatrix matrix;
  matrix.part = {tensor.data.data(), *DTypeNamed(tensor.dtype),
                 tensor.shape[0]};
  return matrix;
}

std::string StoredTensors::Fingerprint(const ModelConfig& config) const {
  ContentHash hash;
  hash.Add(config.ToJson());
  for (const auto& [name, tensor] : *tensors_) {
    hash.Add(name);
    hash.Add(tensor.dtype);
    hash.Add(ShapeText(tensor.shape));
    hash.Add(tensor.data);
  }
  return hash.Digits();
}

}  // namespace chela
