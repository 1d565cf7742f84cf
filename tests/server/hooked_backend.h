#ifndef CHELA_TESTS_SERVER_HOOKED_BACKEND_H_
#define CHELA_TESTS_SERVER_HOOKED_BACKEND_H_

#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "kernels/forwarding_backend.h"

namespace chela::test_support {

// A backend that shows each step to a hook before it runs: to record it, to
// hold it, or to fail it like a lost device.
class HookedBackend : public ForwardingBackend {
 public:
  using Hook = std::function<absl::Status(const StepRows& rows)>;

  explicit HookedBackend(std::unique_ptr<Backend> backend)
      : ForwardingBackend(std::move(backend)) {}

  // From the next step on. The hook runs on the device's thread. Thread-safe.
  void SetHook(Hook hook) {
    const std::lock_guard lock(mutex_);
    hook_ = std::move(hook);
  }

  absl::Status RunStep(const StepRows& rows,
                       const StepProgram& program) override {
    Hook hook;
    {
      const std::lock_guard lock(mutex_);
      hook = hook_;
    }
    if (hook) {
      if (absl::Status status = hook(rows); !status.ok()) return status;
    }
    return ForwardingBackend::RunStep(rows, program);
  }

 private:
  std::mutex mutex_;
  Hook hook_;
};

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SERVER_HOOKED_BACKEND_H_
