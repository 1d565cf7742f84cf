#ifndef CHELA_MODELS_SAFETENSORS_H_
#define CHELA_MODELS_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace chela {

// A tensor as a safetensors file stores it: dense, row-major, little-endian,
// at any alignment. `data` points into the file's bytes and has exactly
// elements * element size bytes.
struct StoredTensor {
  std::string dtype;  // "F32", "BF16", "I64", ...: one the format knows
  std::vector<int64_t> shape;
  std::span<const std::byte> data;
  std::string label;  // `<file>: tensor "<name>"`, for messages
};

using StoredTensorMap = std::map<std::string, StoredTensor>;

// Reads the header of a safetensors file: 8 bytes of little-endian length, so
// many bytes of JSON, then the data. Nothing in `file` is trusted: length,
// JSON, names, types, shapes and offsets are checked, and the tensors must
// cover the data exactly once, without overlaps or holes, as the format
// demands. `path` only names the file in messages.
// INVALID_ARGUMENT, one line: file, tensor, what was found, what was wanted.
absl::StatusOr<StoredTensorMap> ParseSafetensors(
    std::span<const std::byte> file, const std::string& path);

// "[2, 3]"
std::string ShapeText(const std::vector<int64_t>& shape);

}  // namespace chela

#endif  // CHELA_MODELS_SAFETENSORS_H_
