#ifndef CHELA_KERNELS_CUDA_HIERARCHICAL_STREAM_H_
#define CHELA_KERNELS_CUDA_HIERARCHICAL_STREAM_H_

#include <cuda_runtime_api.h>

#include "kernels/cuda/step_rows.h"
#include "kernels/long_convolution.h"

namespace chela::cuda {

// Whether this device streams chunks of an op, and is the faster for it than
// with a history and runs.
bool Streams(const HierarchicalConvolution& op, const ChunkList& chunks,
             int processors);

// Outputs and states of chunks in one pass: a block walks 8 channels of a chunk
// from tile to tile. overlap: the device has programmatic dependent launch.
cudaError_t LaunchStream(const HierarchicalConvolution& op,
                         const ChunkList& chunks, int processors, bool overlap,
                         cudaStream_t stream);

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_HIERARCHICAL_STREAM_H_
