#ifndef CHELA_KERNELS_CUDA_HIERARCHICAL_RUNS_H_
#define CHELA_KERNELS_CUDA_HIERARCHICAL_RUNS_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/step_rows.h"
#include "kernels/long_convolution.h"

namespace chela::cuda {

struct RunLaunch {
  int processors = 1;
  bool overlap = false;  // the device has programmatic dependent launch
  cudaStream_t stream = nullptr;
};

// The outputs and states of `count` chunks of base length kRunBase, from the
// one numbered `first` on, whose histories are made.
cudaError_t LaunchRuns(const HierarchicalConvolution& op,
                       const ChunkList& chunks, int32_t first, int32_t count,
                       const RunLaunch& launch, float* history);

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_HIERARCHICAL_RUNS_H_
