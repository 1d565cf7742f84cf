#include "models/tensor_files.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "models/json_text.h"

namespace chela {
namespace {

constexpr size_t kMaxIndexBytes = size_t{64} << 20;

// A shard lies beside its index: a name that could lead elsewhere is refused.
bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
}

}  // namespace

absl::Status TensorFiles::Add(const std::string& path) {
  absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  absl::StatusOr<StoredTensorMap> tensors =
      ParseSafetensors(file->bytes(), path);
  if (!tensors.ok()) return tensors.status();
  files_.push_back(*std::move(file));
  tensors_.merge(*tensors);
  // What merge() left behind has a name that an earlier file had.
  if (tensors->empty()) return absl::OkStatus();
  const auto& [name, tensor] = *tensors->begin();
  return absl::InvalidArgumentError(
      absl::StrCat(tensor.label, ": stands also in ",
                   tensors_.find(name)->second.label, "; want it once"));
}

absl::Status TensorFiles::AddShards(const std::string& directory,
                                    const std::string& index_path,
                                    const std::string& text) {
  const absl::StatusOr<nlohmann::json> index = ParseJsonObject(text);
  if (!index.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(index_path, ": ", index.status().message()));
  }
  const auto map = index->find("weight_map");
  if (map == index->end() || !map->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        index_path,
        ": weight_map: ", map == index->end() ? "missing" : Shown(*map),
        "; want an object of tensor and file names"));
  }
  std::set<std::string> shards;
  for (const auto& item : map->items()) {
    if (!item.value().is_string() ||
        !IsPlainFileName(item.value().get<std::string>())) {
      return absl::InvalidArgumentError(absl::StrCat(
          index_path, ": tensor ", Quoted(item.key()), ": file ",
          Shown(item.value()), "; want the name of a file in this folder"));
    }
    shards.insert(item.value().get<std::string>());
  }
  for (const std::string& shard : shards) {
    CHELA_RETURN_IF_ERROR(Add(absl::StrCat(directory, "/", shard)));
  }
  for (const auto& item : map->items()) {
    const std::string shard = item.value().get<std::string>();
    const std::string label =
        absl::StrCat(directory, "/", shard, ": tensor ", Quoted(item.key()));
    const auto found = tensors_.find(item.key());
    if (found == tensors_.end() || found->second.label != label) {
      return absl::InvalidArgumentError(absl::StrCat(
          label, ": not in this file; ", index_path, " says it is"));
    }
  }
  for (const auto& [name, tensor] : tensors_) {
    if (map->contains(name)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(tensor.label, ": not in ", index_path,
                     "; want every tensor of a shard there"));
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorFiles> TensorFiles::Open(const std::string& directory) {
  TensorFiles result;
  const std::string single = absl::StrCat(directory, "/model.safetensors");
  const std::string index =
      absl::StrCat(directory, "/model.safetensors.index.json");
  const absl::Status added = result.Add(single);
  if (added.ok()) return result;
  if (!absl::IsNotFound(added)) return added;
  const absl::StatusOr<std::string> text = ReadTextFile(index, kMaxIndexBytes);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(
        absl::StrCat(directory, ": found neither model.safetensors nor ",
                     "model.safetensors.index.json; want one of them"));
  }
  if (!text.ok()) return text.status();
  CHELA_RETURN_IF_ERROR(result.AddShards(directory, index, *text));
  return result;
}

}  // namespace chela
