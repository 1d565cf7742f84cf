#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "kernels/backend.h"
#include "kernels/backend_module.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/module_loader.h"

namespace chela {
namespace {

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(
    const BackendOptions& options) {
  const absl::StatusOr<const BackendModule*> module =
      LoadBackendModule(ModuleFolders(options.module_dir), kCudaModuleFile);
  if (!module.ok()) return module.status();
  absl::StatusOr<std::unique_ptr<Backend>> backend = (*module)->make(options);
  if (backend.ok() && *backend == nullptr) {
    return absl::InternalError(
        absl::StrCat(kCudaModuleFile, ": the factory returned no backend"));
  }
  return backend;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(
    const BackendOptions& options) {
  switch (options.kind) {
    case BackendKind::kCpu:
      return CpuBackend::Create(options);
    case BackendKind::kCuda:
      return MakeCudaBackend(options);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "backend kind ", static_cast<int>(options.kind), "; want 0 or 1"));
}

}  // namespace chela
