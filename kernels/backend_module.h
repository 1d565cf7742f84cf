#ifndef CHELA_KERNELS_BACKEND_MODULE_H_
#define CHELA_KERNELS_BACKEND_MODULE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/product_pair.h"

namespace chela {

// What a backend that is opened at run time shows to the program: a shared
// library with hidden visibility that exports one function to programs,
//
//   extern "C" __attribute__((visibility("default")))
//   const chela::BackendModule* chela_backend_module();
//
// C++ and absl types cross the boundary, so module and program must come from
// one build; `abi` catches a module that was left behind. It is raised whenever
// backend.h, a header it includes, or this one changes what a module or its
// caller is compiled against. The module is never closed.
inline constexpr uint32_t kBackendModuleAbi = 6;

struct BackendModule {
  // The first member in every version, so that it can always be read.
  uint32_t abi = 0;

  // As MakeBackend, for the module's own kind. UNAVAILABLE if the machine has
  // no such device or driver.
  absl::StatusOr<std::unique_ptr<Backend>> (*make)(
      const BackendOptions& options) = nullptr;

  // As MakeProductPair; null in a module without such a peer.
  absl::StatusOr<std::unique_ptr<ProductPair>> (*make_product_pair)(
      const BackendOptions& options, const PairedProduct& product) = nullptr;
};

inline constexpr char kBackendModuleSymbol[] = "chela_backend_module";
using BackendModuleFunction = const BackendModule* (*)();

inline constexpr char kCudaModuleFile[] = "libchela_cuda.so";

}  // namespace chela

#endif  // CHELA_KERNELS_BACKEND_MODULE_H_
