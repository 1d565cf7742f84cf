// Small backend modules for make_backend_test, one for each value of
// FAKE_MODULE: the boundary is tried without a device.
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "kernels/backend_module.h"
#include "tests/kernels/modules/fake_modules.h"

namespace chela {
namespace {

#if FAKE_MODULE == FAKE_GOOD

class FakeBackend final : public Backend {
 public:
  explicit FakeBackend(const BackendOptions& options) : options_(options) {}
  BackendInfo Info() const override {
    return {.name = "fake:" + std::to_string(options_.device),
            .device = "none",
            .kernels = "none",
            .threads = options_.threads};
  }
  int64_t FreeBytes() const override { return 0; }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t) override {
    return absl::ResourceExhaustedError("a fake has no memory");
  }
  absl::Status Upload(const void*, void*, size_t) override { return Refuse(); }
  absl::Status Download(const void*, void*, size_t) override {
    return Refuse();
  }
  absl::Status Copy(const void*, void*, size_t) override { return Refuse(); }
  absl::Status Clear(void*, size_t) override { return Refuse(); }
  absl::StatusOr<std::unique_ptr<Matrix>> Pack(std::span<const MatrixPart>,
                                               int64_t, DType) override {
    return Refuse();
  }
  absl::StatusOr<std::unique_ptr<ExplicitKernel>> MakeExplicitKernel(
      const float*, int32_t, int64_t) override {
    return Refuse();
  }
  absl::Status BeginStep(const StepRows&) override { return Refuse(); }
  absl::Status Run(const Embedding&) override { return Refuse(); }
  absl::Status Run(const ShortConvolution&) override { return Refuse(); }
  absl::Status Run(const HierarchicalConvolution&) override { return Refuse(); }
  absl::Status Run(const ExplicitConvolution&) override { return Refuse(); }
  absl::Status Run(const Linear&) override { return Refuse(); }
  absl::Status Run(const LinearAttention&) override { return Refuse(); }
  absl::Status Run(const GatedOutput&) override { return Refuse(); }
  absl::Status Run(const FeedForward&) override { return Refuse(); }
  absl::Status Run(const LogitsHead&) override { return Refuse(); }

 private:
  static absl::Status Refuse() { return absl::UnimplementedError("a fake"); }
  BackendOptions options_;
};

#endif

#if FAKE_MODULE != FAKE_NO_SYMBOL

[[maybe_unused]] absl::StatusOr<std::unique_ptr<Backend>> Make(
    [[maybe_unused]] const BackendOptions& options) {
#if FAKE_MODULE == FAKE_GOOD
  return std::make_unique<FakeBackend>(options);
#elif FAKE_MODULE == FAKE_UNAVAILABLE
  return absl::UnavailableError("device 0: no driver on this machine");
#else
  return std::unique_ptr<Backend>();
#endif
}

constexpr BackendModule kModule = {
#if FAKE_MODULE == FAKE_WRONG_ABI
    .abi = kBackendModuleAbi + 41,
#else
    .abi = kBackendModuleAbi,
#endif
#if FAKE_MODULE == FAKE_NO_FACTORY
    .make = nullptr,
#else
    .make = Make,
#endif
};

#endif

}  // namespace
}  // namespace chela

#if FAKE_MODULE == FAKE_UNRESOLVED
// Defined nowhere, as when a library that the module needs is not installed.
extern "C" int chela_test_symbol_that_nobody_defines();
extern "C" __attribute__((visibility("default"))) int chela_test_caller() {
  return chela_test_symbol_that_nobody_defines();
}
#endif

#if FAKE_MODULE != FAKE_NO_SYMBOL
extern "C" __attribute__((visibility("default"))) const chela::BackendModule*
chela_backend_module() {
#if FAKE_MODULE == FAKE_NULL_MODULE
  return nullptr;
#else
  return &chela::kModule;
#endif
}
#endif
