#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "kernels/backend.h"
#include "kernels/backend_module.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/module_loader.h"
#include "kernels/product_pair.h"

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

absl::StatusOr<std::unique_ptr<ProductPair>> MakeProductPair(
    const BackendOptions& options, const PairedProduct& product) {
  if (product.outputs < 1 || product.inputs < 1 || product.rows < 1 ||
      product.copies < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("a product of ", product.rows, " rows by ", product.copies,
                     " copies of [", product.outputs, ", ", product.inputs,
                     "]; want each at least 1"));
  }
  if (options.kind != BackendKind::kCuda) {
    return absl::UnimplementedError(
        "products beside the library of the vendor: only on CUDA devices");
  }
  const absl::StatusOr<const BackendModule*> module =
      LoadBackendModule(ModuleFolders(options.module_dir), kCudaModuleFile);
  if (!module.ok()) return module.status();
  if ((*module)->make_product_pair == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat(kCudaModuleFile, " has no peer for products"));
  }
  return (*module)->make_product_pair(options, product);
}

}  // namespace chela
