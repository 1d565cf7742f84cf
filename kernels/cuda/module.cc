// What libchela_cuda.so shows to the program that opens it.
#include "kernels/backend_module.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/explicit_kernel.h"
#include "kernels/cuda/product_pair.h"

extern "C" __attribute__((visibility("default"))) const chela::BackendModule*
chela_backend_module() {
  static const chela::BackendModule kModule = {
      .abi = chela::kBackendModuleAbi,
      .make = chela::cuda::CudaBackend::Create,
      .make_product_pair = chela::cuda::MakeProductPair};
  return &kModule;
}

// For tests (explicit_kernel.h).
extern "C" __attribute__((visibility("default"))) void
chela_cuda_limit_shared_bytes(int64_t bytes) {
  chela::cuda::LimitSharedBytes(bytes);
}
