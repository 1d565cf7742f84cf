#include "kernels/module_loader.h"

#include <dlfcn.h>

#include <filesystem>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace chela {
namespace {

std::string LastError() {
  const char* error = dlerror();
  return error == nullptr ? "no reason given" : error;
}

absl::StatusOr<const BackendModule*> Open(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return absl::UnavailableError(
        absl::StrCat(path, ": cannot be opened: ", LastError()));
  }
  const auto function = reinterpret_cast<BackendModuleFunction>(
      dlsym(library, kBackendModuleSymbol));
  if (function == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": no backend module: ", LastError()));
  }
  const BackendModule* module = function();
  if (module == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": ", kBackendModuleSymbol, " returned null"));
  }
  if (module->abi != kBackendModuleAbi) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": module of another ABI: found ", module->abi,
                     ", want ", kBackendModuleAbi));
  }
  if (module->make == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": the module has no factory"));
  }
  return module;
}

}  // namespace

std::vector<std::string> ModuleFolders(const std::string& module_dir) {
  if (!module_dir.empty()) return {module_dir};
  std::error_code error;
  const std::filesystem::path program =
      std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return {};
  const std::filesystem::path folder = program.parent_path();
  return {folder.string(), (folder.parent_path() / "lib").string()};
}

absl::StatusOr<const BackendModule*> LoadBackendModule(
    const std::vector<std::string>& folders, const std::string& file) {
  for (const std::string& folder : folders) {
    const std::filesystem::path path = std::filesystem::path(folder) / file;
    std::error_code error;
    if (std::filesystem::exists(path, error)) return Open(path.string());
  }
  return absl::NotFoundError(
      folders.empty()
          ? absl::StrCat("module ", file,
                         " not installed: the executable's folder is unknown")
          : absl::StrCat("module ", file, " not installed: looked in ",
                         absl::StrJoin(folders, ", ")));
}

}  // namespace chela
