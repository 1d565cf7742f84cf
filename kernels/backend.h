#ifndef CHELA_KERNELS_BACKEND_H_
#define CHELA_KERNELS_BACKEND_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/draw.h"
#include "kernels/embedding.h"
#include "kernels/feed_forward.h"
#include "kernels/linear.h"
#include "kernels/linear_attention.h"
#include "kernels/long_convolution.h"
#include "kernels/matrix.h"
#include "kernels/short_convolution.h"
#include "kernels/step.h"

namespace chela {

enum class BackendKind { kCpu, kCuda };

// A block of backend memory. Frees itself; must not outlive its Backend.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual void* data() = 0;
  virtual size_t size_bytes() const = 0;
};

// What a backend runs on, for people, logs and metrics.
struct BackendInfo {
  std::string name;     // "cpu", "cuda:0"
  std::string device;   // "AMD EPYC 9004", "NVIDIA H100"
  std::string kernels;  // the chosen set: "avx512_bf16", "sm_90"
  int32_t threads = 0;  // host threads that compute; 1 for a GPU
};

// One step's ops, as a list that a backend may record and replay: for an `id`
// the ops and every pointer in them are the same at each step, apart from what
// stands here and in the step's rows.
struct StepProgram {
  uint64_t id = 0;                        // never used for another list
  std::span<const int32_t> tokens;        // host, [rows]: what Embedding reads
  std::span<const int32_t> logits_rows;   // host: what LogitsHead reads
  DrawInputs draws;                       // host: what Draw reads, if anything
  absl::FunctionRef<absl::Status()> ops;  // makes the calls of Run
};

// One device, its memory, and the ops of a CHELA layer on it.
//
// An op runs on the rows of the current step (BeginStep). Pointers in op
// structs are this backend's memory unless they say "host". Calls run in the
// order they are made. OK from an op means accepted; a device fault may be
// reported by any later call, and by Download at the latest.
//
// Results: a row's bits depend on its own sequence only, never on the batch,
// the slot, the rows beside it or the number of threads. Ops check the scalars
// of their struct (INVALID_ARGUMENT, before any write).
//
// Threads: owned by one thread.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual BackendInfo Info() const = 0;

  // Bytes that Allocate could still give out, as the device (or, on the CPU,
  // the cgroup and /proc/meminfo) says now.
  virtual int64_t FreeBytes() const = 0;

  // Zeroed memory, aligned to 256 bytes. RESOURCE_EXHAUSTED when it is full,
  // naming what was asked and what was free.
  virtual absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t bytes) = 0;
  virtual absl::Status Upload(const void* host, void* device, size_t bytes) = 0;
  // Waits for everything enqueued before it.
  virtual absl::Status Download(const void* device, void* host,
                                size_t bytes) = 0;
  // Within this backend's memory; the ranges do not overlap.
  virtual absl::Status Copy(const void* from, void* to, size_t bytes) = 0;
  // Zeros, in the order of calls like everything else; the host need not wait.
  virtual absl::Status Clear(void* device, size_t bytes) = 0;

  // Stacks `parts` (same cols) into one matrix of element type `dtype`,
  // converting where a part differs (round to nearest even). kI8: row n becomes
  // round(w / s_n) times s_n = max |w| / 127. UNIMPLEMENTED where a backend has
  // no such matrices.
  virtual absl::StatusOr<std::unique_ptr<Matrix>> Pack(
      std::span<const MatrixPart> parts, int64_t cols, DType dtype) = 0;
  // kernel: host, [width, length] as the checkpoint stores it.
  virtual absl::StatusOr<std::unique_ptr<ExplicitKernel>> MakeExplicitKernel(
      const float* kernel, int32_t width, int64_t length) = 0;

  // Sets the rows that the following ops work on. The segments must live
  // until the next BeginStep.
  virtual absl::Status BeginStep(const StepRows& rows) = 0;

  // A whole step: BeginStep and the program's ops, or a recording of them.
  // Tokens and rows of the program must be in range.
  virtual absl::Status RunStep(const StepRows& rows,
                               const StepProgram& program) {
    const absl::Status begun = BeginStep(rows);
    return begun.ok() ? program.ops() : begun;
  }

  virtual absl::Status Run(const Embedding& op) = 0;
  virtual absl::Status Run(const ShortConvolution& op) = 0;
  virtual absl::Status Run(const HierarchicalConvolution& op) = 0;
  virtual absl::Status Run(const ExplicitConvolution& op) = 0;
  virtual absl::Status Run(const Linear& op) = 0;
  virtual absl::Status Run(const LinearAttention& op) = 0;
  virtual absl::Status Run(const GatedOutput& op) = 0;
  virtual absl::Status Run(const FeedForward& op) = 0;
  virtual absl::Status Run(const LogitsHead& op) = 0;

  // Whether this backend draws tokens where the logits are. Without, Run(Draw)
  // is UNIMPLEMENTED and the logits go to the host's sampler.
  virtual bool draws_tokens() const { return false; }
  virtual absl::Status Run(const Draw& /*op*/) {
    return absl::UnimplementedError("this backend draws no tokens");
  }
};

// The kernel set a CPU backend may use at most; the best that the processor
// has is taken below it. kGeneric is portable C++ (and the plain version that
// the fast ones are tested against).
enum class CpuKernels { kGeneric, kAvx2, kAvx512, kAvx512Bf16 };

struct BackendOptions {
  BackendKind kind = BackendKind::kCpu;
  int32_t device = 0;   // CUDA device number
  int32_t threads = 0;  // CPU: 0 means every core this process may use
  CpuKernels max_kernels = CpuKernels::kAvx512Bf16;
  std::string module_dir;  // where libchela_cuda.so is looked for; empty: the
                           // executable's folder, then ../lib beside it
};

// The only place that knows which backends exist. CUDA is a module opened at
// run time, never linked (cuBLAS's static TLS breaks small thread stacks).
// NOT_FOUND if the module is not installed, FAILED_PRECONDITION if it has
// another ABI, UNAVAILABLE if the machine has no such device or driver.
absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(
    const BackendOptions& options);

}  // namespace chela

#endif  // CHELA_KERNELS_BACKEND_H_
