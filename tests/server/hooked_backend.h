#ifndef CHELA_TESTS_SERVER_HOOKED_BACKEND_H_
#define CHELA_TESTS_SERVER_HOOKED_BACKEND_H_

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "kernels/backend.h"

namespace chela::test_support {

// A backend that hands everything to another one and shows each step to a hook
// before it runs: to record it, to hold it, or to fail it like a lost device.
class HookedBackend : public Backend {
 public:
  using Hook = std::function<absl::Status(const StepRows& rows)>;

  explicit HookedBackend(std::unique_ptr<Backend> backend)
      : backend_(std::move(backend)) {}

  // From the next step on. The hook runs on the engine's thread. Thread-safe.
  void SetHook(Hook hook) {
    const std::lock_guard lock(mutex_);
    hook_ = std::move(hook);
  }

  BackendInfo Info() const override { return backend_->Info(); }
  int64_t FreeBytes() const override { return backend_->FreeBytes(); }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t bytes) override {
    return backend_->Allocate(bytes);
  }
  absl::Status Upload(const void* host, void* device, size_t bytes) override {
    return backend_->Upload(host, device, bytes);
  }
  absl::Status Download(const void* device, void* host, size_t bytes) override {
    return backend_->Download(device, host, bytes);
  }
  absl::Status Copy(const void* from, void* to, size_t bytes) override {
    return backend_->Copy(from, to, bytes);
  }
  absl::Status Clear(void* device, size_t bytes) override {
    return backend_->Clear(device, bytes);
  }
  absl::StatusOr<std::unique_ptr<Matrix>> Pack(
      std::span<const MatrixPart> parts, int64_t cols, DType dtype) override {
    return backend_->Pack(parts, cols, dtype);
  }
  absl::StatusOr<std::unique_ptr<ExplicitKernel>> MakeExplicitKernel(
      const float* kernel, int32_t width, int64_t length) override {
    return backend_->MakeExplicitKernel(kernel, width, length);
  }
  absl::Status BeginStep(const StepRows& rows) override {
    const absl::Status shown = Show(rows);
    return shown.ok() ? backend_->BeginStep(rows) : shown;
  }
  absl::Status RunStep(const StepRows& rows,
                       const StepProgram& program) override {
    const absl::Status shown = Show(rows);
    return shown.ok() ? backend_->RunStep(rows, program) : shown;
  }

  absl::Status Run(const Embedding& op) override { return backend_->Run(op); }
  absl::Status Run(const ShortConvolution& op) override {
    return backend_->Run(op);
  }
  absl::Status Run(const HierarchicalConvolution& op) override {
    return backend_->Run(op);
  }
  absl::Status Run(const ExplicitConvolution& op) override {
    return backend_->Run(op);
  }
  absl::Status Run(const Linear& op) override { return backend_->Run(op); }
  absl::Status Run(const LinearAttention& op) override {
    return backend_->Run(op);
  }
  absl::Status Run(const GatedOutput& op) override { return backend_->Run(op); }
  absl::Status Run(const FeedForward& op) override { return backend_->Run(op); }
  absl::Status Run(const LogitsHead& op) override { return backend_->Run(op); }
  bool draws_tokens() const override { return backend_->draws_tokens(); }
  absl::Status Run(const Draw& op) override { return backend_->Run(op); }

 private:
  absl::Status Show(const StepRows& rows) {
    Hook hook;
    {
      const std::lock_guard lock(mutex_);
      hook = hook_;
    }
    return hook ? hook(rows) : absl::OkStatus();
  }

  const std::unique_ptr<Backend> backend_;
  std::mutex mutex_;
  Hook hook_;
};

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SERVER_HOOKED_BACKEND_H_
