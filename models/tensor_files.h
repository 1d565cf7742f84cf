#ifndef CHELA_MODELS_TENSOR_FILES_H_
#define CHELA_MODELS_TENSOR_FILES_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "models/mapped_file.h"
#include "models/safetensors.h"

namespace chela {

// The tensors of a checkpoint folder, mapped: `model.safetensors`, or, where
// that is missing, the shards that `model.safetensors.index.json` lists.
// Immutable and thread-safe; the tensors' data lives as long as this.
class TensorFiles {
 public:
  // NOT_FOUND without either file or with a shard missing, INVALID_ARGUMENT
  // if a file is broken, a shard's name is no plain file name, a tensor stands
  // in two shards, or index and shards disagree; UNAVAILABLE if a file cannot
  // be read. One line: file, tensor, what was found, what was wanted.
  static absl::StatusOr<TensorFiles> Open(const std::string& directory);

  const StoredTensorMap& tensors() const { return tensors_; }

 private:
  TensorFiles() = default;
  absl::Status Add(const std::string& path);
  absl::Status AddShards(const std::string& directory,
                         const std::string& index_path,
                         const std::string& text);

  std::vector<MappedFile> files_;
  StoredTensorMap tensors_;
};

}  // namespace chela

#endif  // CHELA_MODELS_TENSOR_FILES_H_
