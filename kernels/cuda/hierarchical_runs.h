#ifndef CHELA_KERNELS_CUDA_HIERARCHICAL_RUNS_H_
#define CHELA_KERNELS_CUDA_HIERARCHICAL_RUNS_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/step_rows.h"
#include "kernels/long_convolution.h"

namespace chela::cuda {

// The outputs and states of chunks of base length kRunBase whose histories are
// made. overlap: the device has programmatic dependent launch.
cudaError_t LaunchRuns(const HierarchicalConvolution& op,
                       const ChunkList& chunks, int processors, bool overlap,
                       float* history, cudaStream_t stream);

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_HIERARCHICAL_RUNS_H_
