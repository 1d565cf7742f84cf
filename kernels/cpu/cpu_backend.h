#ifndef CHELA_KERNELS_CPU_CPU_BACKEND_H_
#define CHELA_KERNELS_CPU_CPU_BACKEND_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cpu/aligned_memory.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/weight_order.h"

namespace chela {

class PackedMatrix;

// The CPU backend: one kernel set, chosen once, and one pool of threads. Ops
// are done when Run returns.
//
// Threads: owned by one thread; the pool's threads work only inside a call.
class CpuBackend final : public Backend {
 public:
  // INVALID_ARGUMENT for negative threads.
  static absl::StatusOr<std::unique_ptr<CpuBackend>> Create(
      const BackendOptions& options);

  BackendInfo Info() const override;
  int64_t FreeBytes() const override;
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t bytes) override;
  absl::Status Upload(const void* host, void* device, size_t bytes) override;
  absl::Status Download(const void* device, void* host, size_t bytes) override;
  absl::Status Copy(const void* from, void* to, size_t bytes) override;
  absl::Status Clear(void* device, size_t bytes) override;
  absl::StatusOr<std::unique_ptr<Matrix>> Pack(
      std::span<const MatrixPart> parts, int64_t cols, DType dtype) override;
  absl::StatusOr<std::unique_ptr<ExplicitKernel>> MakeExplicitKernel(
      const float* kernel, int32_t width, int64_t length) override;

  absl::Status BeginStep(const StepRows& rows) override;
  absl::Status Run(const Embedding& op) override;
  absl::Status Run(const ShortConvolution& op) override;
  absl::Status Run(const HierarchicalConvolution& op) override;
  absl::Status Run(const ExplicitConvolution& op) override;
  absl::Status Run(const Linear& op) override;
  absl::Status Run(const LinearAttention& op) override;
  absl::Status Run(const GatedOutput& op) override;
  absl::Status Run(const FeedForward& op) override;
  absl::Status Run(const LogitsHead& op) override;

 private:
  CpuBackend(const CpuKernelTable& kernels, int32_t threads)
      : kernels_(kernels), pool_(threads) {}

  // body(task) for each task, of `work` elementary operations each; on the
  // calling thread alone where that is not worth waking others.
  void ForTasks(int64_t tasks, int64_t work,
                absl::FunctionRef<void(int64_t task)> body);
  // body(begin, end) over [0, items) in consecutive ranges; likewise.
  void ForRanges(int64_t items, int64_t work,
                 absl::FunctionRef<void(int64_t begin, int64_t end)> body);

  // Rounds the rows of a product's left operand to the matrix's type. make_row
  // returns row `row`, which it may write to `room` ([cols] floats). The
  // result is task->left and lives until the next call.
  absl::Status MakeLeft(
      const PackedMatrix& matrix, int64_t rows,
      absl::FunctionRef<const float*(int64_t row, float* room)> make_row,
      ProductTask* task);

  // The product of task.left and `matrix`, with task's finish, for `rows`
  // rows. Threads that wait until the next product fetch its weights.
  void Multiply(const PackedMatrix& matrix, int64_t rows, ProductTask task);

  // out[i] = Norm(x[i]).
  const float* NormalizeTo(const Norm& norm, const float* x, int64_t width,
                           float* out);

  const CpuKernelTable& kernels_;
  ThreadPool pool_;
  MemorySlabs weights_;  // packed matrices
  WeightOrder order_;
  StepRows step_;
  Scratch left_;         // rounded left operands
  Scratch activations_;  // of the feed-forward and of the attention
  Scratch convolution_;  // of the long convolutions, a part for each thread
  Scratch pointers_;     // of the short convolution
};

}  // namespace chela

#endif  // CHELA_KERNELS_CPU_CPU_BACKEND_H_
