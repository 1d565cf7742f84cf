#ifndef CHELA_KERNELS_CUDA_COLLECTED_STEP_H_
#define CHELA_KERNELS_CUDA_COLLECTED_STEP_H_

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cuda/device_buffer.h"
#include "kernels/cuda/whole_step.h"

namespace chela::cuda {

using StepOp = std::variant<Embedding, ShortConvolution,
                            HierarchicalConvolution, ExplicitConvolution,
                            Linear, LinearAttention, GatedOutput, FeedForward>;

// The programs whose decode step of one row runs as one kernel. Which they are
// is found out once for each program, from the ops of its first such step.
//
// Threads: owned by one thread.
class WholeSteps {
 public:
  struct Device {
    int32_t processors = 0;
    int64_t shared_bytes = 0;  // that a block may have
  };
  // Whether to collect this program's ops before their logits: yes until it is
  // known that it is none of them.
  bool Collects(uint64_t program) const;

  // The whole step that `ops` are, or null if they are to be run one by one.
  // Copies its tables to the device the first time: outside of recordings.
  absl::StatusOr<const WholeStep*> Find(uint64_t program,
                                        std::span<const StepOp> ops,
                                        const Device& device,
                                        cudaStream_t stream);

 private:
  struct Plan {
    WholeStep step;
    DeviceBuffer memory;  // layers, exchange, epoch
  };
  static absl::StatusOr<Plan> Make(WholeStep step,
                                   std::span<const StepLayer> layers,
                                   cudaStream_t stream);

  std::map<uint64_t, std::optional<Plan>> plans_;
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_COLLECTED_STEP_H_
