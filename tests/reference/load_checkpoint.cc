#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "models/tensor_files.h"
#include "tests/reference/chela_model.h"
#include "tests/reference/rounding.h"

namespace chela::reference {
namespace {

using Vector = std::vector<double>;

Vector Widened(const StoredTensor& tensor) {
  const bool wide = tensor.dtype == "F32";
  const DType dtype = tensor.dtype == "F16" ? DType::kF16 : DType::kBF16;
  Vector values(tensor.data.size() / (wide ? 4 : 2));
  for (size_t i = 0; i < values.size(); ++i) {
    if (wide) {
      float value = 0;
      std::memcpy(&value, &tensor.data[4 * i], 4);
      values[i] = value;
    } else {
      uint16_t bits = 0;
      std::memcpy(&bits, &tensor.data[2 * i], 2);
      values[i] = Decode16(dtype, bits);
    }
  }
  return values;
}

[[noreturn]] void Fail(const absl::Status& status) {
  std::fprintf(stderr, "reference: %s\n", status.ToString().c_str());
  std::abort();
}

}  // namespace

Checkpoint LoadCheckpoint(const std::string& directory) {
  const auto config = ModelConfig::Load(directory);
  if (!config.ok()) Fail(config.status());
  const auto files = TensorFiles::Open(directory);
  if (!files.ok()) Fail(files.status());
  Checkpoint checkpoint{*config, {}};
  for (const auto& [name, tensor] : files->tensors()) {
    checkpoint.tensors[name] = Widened(tensor);
  }
  return checkpoint;
}

}  // namespace chela::reference
