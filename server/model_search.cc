#include "server/model_search.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace chela {

namespace fs = std::filesystem;

std::vector<std::string> DefaultModelPlaces(const std::string& executable_dir,
                                            const std::string& source_model) {
  return {(fs::path(executable_dir) / "../share/chela/chela-demo")
              .lexically_normal()
              .string(),
          source_model, "./models/chela-demo"};
}

absl::StatusOr<std::string> FindModel(const std::vector<std::string>& places) {
  for (const std::string& place : places) {
    std::error_code error;
    if (fs::exists(fs::path(place) / "config.json", error)) return place;
  }
  return absl::NotFoundError(absl::StrCat(
      "no model: $CHELA_MODEL is not set, and there is no config.json in ",
      absl::StrJoin(places, ", "), "; want --model DIR"));
}

std::string BaseName(const std::string& directory) {
  std::error_code error;
  fs::path path = fs::weakly_canonical(directory, error);
  if (error) path = directory;
  if (!path.has_filename()) path = path.parent_path();  // "demo/"
  return path.has_filename() ? path.filename().string() : "model";
}

std::string ExecutableDirectory() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  return error ? "." : program.parent_path().string();
}

}  // namespace chela
