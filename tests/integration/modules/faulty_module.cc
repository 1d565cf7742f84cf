// A libchela_cuda.so without CUDA: "GPUs" that compute on the CPU and fail when
// they are told to, so that a whole server process can be tested with several
// devices, and with broken ones. Variables:
//
//   CHELA_FAULTY_DEVICES  how many there are (2)
//   CHELA_FAULTY_BYTES    memory of each (1 GiB)
//   CHELA_FAULTY_ODD      the number of one that is of another model
//   CHELA_FAULTY_STEP_US  what each step takes longer (0)
//   CHELA_FAULTY_FILE     once it is there: "fail N" loses device N at its next
//                         step, "hang N" makes its next step endless
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/backend_module.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/server/hooked_backend.h"

namespace chela {
namespace {

std::string Variable(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

int64_t Number(const char* name, const char* otherwise) {
  return std::strtoll(Variable(name, otherwise).c_str(), nullptr, 10);
}

class CountedBuffer final : public Buffer {
 public:
  CountedBuffer(std::unique_ptr<Buffer> buffer, int64_t* used)
      : buffer_(std::move(buffer)), used_(used) {
    *used_ += static_cast<int64_t>(size_bytes());
  }
  ~CountedBuffer() override { *used_ -= static_cast<int64_t>(size_bytes()); }
  void* data() override { return buffer_->data(); }
  size_t size_bytes() const override { return buffer_->size_bytes(); }

 private:
  const std::unique_ptr<Buffer> buffer_;
  int64_t* const used_;
};

class FaultyBackend final : public test_support::HookedBackend {
 public:
  FaultyBackend(int32_t device, std::unique_ptr<Backend> cpu)
      : HookedBackend(std::move(cpu)), device_(device) {
    const auto pause =
        std::chrono::microseconds(Number("CHELA_FAULTY_STEP_US", "0"));
    SetHook([this, pause](const StepRows&) {
      std::this_thread::sleep_for(pause);
      return Obey();
    });
  }

  BackendInfo Info() const override {
    const bool odd = Number("CHELA_FAULTY_ODD", "-1") == device_;
    return {.name = absl::StrCat("cuda:", device_),
            .device = odd ? "Odd GPU" : "Faulty GPU",
            .kernels = "none",
            .threads = 1};
  }
  int64_t FreeBytes() const override {
    return Number("CHELA_FAULTY_BYTES", "1073741824") - used_;
  }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t bytes) override {
    if (static_cast<int64_t>(bytes) > FreeBytes()) {
      return absl::ResourceExhaustedError(
          absl::StrCat("CUDA could not allocate ", bytes, " bytes, ",
                       FreeBytes(), " free: out of memory"));
    }
    absl::StatusOr<std::unique_ptr<Buffer>> buffer =
        HookedBackend::Allocate(bytes);
    if (!buffer.ok()) return buffer.status();
    return std::make_unique<CountedBuffer>(*std::move(buffer), &used_);
  }

 private:
  absl::Status Obey() const {
    std::ifstream file(Variable("CHELA_FAULTY_FILE", ""));
    std::string word;
    int32_t device = -1;
    while (file >> word >> device) {
      if (device != device_) continue;
      if (word == "fail") {
        return absl::InternalError("CUDA could not run a step: device lost");
      }
      while (word == "hang") std::this_thread::sleep_for(std::chrono::hours(1));
    }
    return absl::OkStatus();
  }

  const int32_t device_;
  int64_t used_ = 0;
};

absl::StatusOr<std::unique_ptr<Backend>> Make(const BackendOptions& options) {
  const int64_t devices = Number("CHELA_FAULTY_DEVICES", "2");
  if (options.device >= devices) {
    return absl::UnavailableError(
        absl::StrCat("CUDA could not open device ", options.device,
                     ": there are ", devices, "; want 0 to ", devices - 1));
  }
  BackendOptions cpu = options;
  cpu.threads = 1;
  absl::StatusOr<std::unique_ptr<Backend>> backend = CpuBackend::Create(cpu);
  if (!backend.ok()) return backend.status();
  return std::make_unique<FaultyBackend>(options.device, *std::move(backend));
}

constexpr BackendModule kModule = {.abi = kBackendModuleAbi, .make = Make};

}  // namespace
}  // namespace chela

extern "C" __attribute__((visibility("default"))) const chela::BackendModule*
chela_backend_module() {
  return &chela::kModule;
}
