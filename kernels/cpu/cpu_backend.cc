#include "kernels/cpu/cpu_backend.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/aligned_memory.h"
#include "kernels/cpu/choose_kernels.h"
#include "kernels/cpu/machine.h"
#include "kernels/cpu/packed_matrix.h"
#include "kernels/status_macros.h"
#include "kernels/validate.h"

namespace chela {
namespace {

// Elementwise work (elements, about a quarter of a nanosecond each) that pays
// for handing it to another thread.
constexpr int64_t kWorkPerRange = 1 << 13;
constexpr int64_t kRangesPerThread = 4;
constexpr int64_t kZeroedPart = 4 << 20;  // bytes

class CpuBuffer final : public Buffer {
 public:
  explicit CpuBuffer(AlignedMemory memory) : memory_(std::move(memory)) {}
  void* data() override { return memory_.data(); }
  size_t size_bytes() const override { return memory_.size_bytes(); }

 private:
  AlignedMemory memory_;
};

absl::Status NoMemory(size_t bytes, int64_t free_bytes) {
  return absl::ResourceExhaustedError(absl::StrCat(
      "CPU memory: ", bytes, " bytes asked, ", free_bytes, " free"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<CpuBackend>> CpuBackend::Create(
    const BackendOptions& options) {
  if (options.threads < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "threads: ", options.threads, "; want 0 (every usable core) or more"));
  }
  const int32_t threads =
      options.threads == 0 ? UsableCores() : options.threads;
  return std::unique_ptr<CpuBackend>(
      new CpuBackend(ChooseKernels(options.max_kernels), threads));
}

BackendInfo CpuBackend::Info() const {
  return {.name = "cpu",
          .device = ProcessorName(),
          .kernels = kernels_.name,
          .threads = pool_.threads()};
}

int64_t CpuBackend::FreeBytes() const { return FreeMemoryBytes(); }

absl::StatusOr<std::unique_ptr<Buffer>> CpuBackend::Allocate(size_t bytes) {
  // Asked for only if it fits: the system would promise more than it has.
  const int64_t free_bytes = FreeBytes();
  AlignedMemory memory;
  if (bytes <= static_cast<size_t>(free_bytes)) memory = AlignedMemory(bytes);
  if (bytes > 0 && memory.data() == nullptr) return NoMemory(bytes, free_bytes);
  // On all threads: the system makes the pages where they are first written.
  const auto size = static_cast<int64_t>(bytes);
  ForTasks((size + kZeroedPart - 1) / kZeroedPart, kZeroedPart / 16,
           [&](int64_t part) {
             const int64_t begin = part * kZeroedPart;
             std::memset(
                 static_cast<std::byte*>(memory.data()) + begin, 0,
                 static_cast<size_t>(std::min(kZeroedPart, size - begin)));
           });
  return std::make_unique<CpuBuffer>(std::move(memory));
}

absl::Status CpuBackend::Upload(const void* host, void* device, size_t bytes) {
  if (bytes > 0) std::memcpy(device, host, bytes);
  return absl::OkStatus();
}

absl::Status CpuBackend::Download(const void* device, void* host,
                                  size_t bytes) {
  if (bytes > 0) std::memcpy(host, device, bytes);
  return absl::OkStatus();
}

absl::Status CpuBackend::Copy(const void* from, void* to, size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
  return absl::OkStatus();
}

absl::Status CpuBackend::Clear(void* device, size_t bytes) {
  if (bytes > 0) std::memset(device, 0, bytes);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Matrix>> CpuBackend::Pack(
    std::span<const MatrixPart> parts, int64_t cols, DType dtype) {
  CHELA_RETURN_IF_ERROR(ValidatePack(parts, cols));
  int64_t rows = 0;
  for (const MatrixPart& part : parts) rows += part.rows;
  const size_t bytes = PackedMatrix::SizeBytes(rows, cols, dtype);
  const int64_t free_bytes = FreeBytes();
  AlignedMemory memory;
  if (bytes <= static_cast<size_t>(free_bytes)) memory = weights_.Cut(bytes);
  if (memory.data() == nullptr) return NoMemory(bytes, free_bytes);
  auto matrix =
      std::make_unique<PackedMatrix>(rows, cols, dtype, std::move(memory));
  ForTasks(PackedMatrix::Panels(rows), cols * kPanelColumns * 4,
           [&](int64_t panel) { matrix->PackPanel(parts, panel); });
  return matrix;
}

absl::Status CpuBackend::BeginStep(const StepRows& rows) {
  CHELA_RETURN_IF_ERROR(Validate(rows));
  step_ = rows;
  return absl::OkStatus();
}

void CpuBackend::ForTasks(int64_t tasks, int64_t work,
                          absl::FunctionRef<void(int64_t task)> body) {
  if (tasks * work < 2 * kWorkPerRange) {
    for (int64_t task = 0; task < tasks; ++task) body(task);
    return;
  }
  pool_.Run(tasks, body);
}

void CpuBackend::ForRanges(
    int64_t items, int64_t work,
    absl::FunctionRef<void(int64_t begin, int64_t end)> body) {
  const int64_t ranges =
      std::min({items, items * work / kWorkPerRange,
                int64_t{pool_.threads()} * kRangesPerThread});
  if (ranges <= 1 || pool_.threads() == 1) {
    if (items > 0) body(0, items);
    return;
  }
  pool_.Run(ranges, [&](int64_t range) {
    body(items * range / ranges, items * (range + 1) / ranges);
  });
}

}  // namespace chela
