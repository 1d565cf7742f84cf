#ifndef CHELA_KERNELS_FORWARDING_BACKEND_H_
#define CHELA_KERNELS_FORWARDING_BACKEND_H_

#include <memory>
#include <span>
#include <utility>

#include "kernels/backend.h"

namespace chela {

// A backend that hands everything to another one: for those that look at some
// calls, or change them.
//
// Threads: as the other backend.
class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(std::unique_ptr<Backend> backend)
      : backend_(std::move(backend)) {}

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
    return backend_->BeginStep(rows);
  }
  // The program's ops come back through Run, unless it is replayed.
  absl::Status RunStep(const StepRows& rows,
                       const StepProgram& program) override {
    return backend_->RunStep(rows, program);
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

 protected:
  Backend& backend() { return *backend_; }

 private:
  const std::unique_ptr<Backend> backend_;
};

}  // namespace chela

#endif  // CHELA_KERNELS_FORWARDING_BACKEND_H_
