#ifndef CHELA_KERNELS_CUDA_LAUNCH_H_
#define CHELA_KERNELS_CUDA_LAUNCH_H_

#include <cuda_runtime.h>

#include <utility>

namespace chela::cuda {

// How a kernel is launched on this backend's stream.
struct LaunchShape {
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;
  // Blocks of a cluster along x; 1: no cluster (and on devices before 9.0).
  int cluster = 1;
  // May start before the kernel in front of it has ended (programmatic
  // dependent launch, 9.0 and newer). The kernel calls WaitForEarlier before it
  // reads what that one wrote, and before it writes anything.
  bool overlap = false;
  // All blocks run at once or the launch fails: they wait for each other.
  bool together = false;
  cudaStream_t stream = nullptr;
};

template <typename... Parameters, typename... Arguments>
cudaError_t Launch(const LaunchShape& shape, void (*kernel)(Parameters...),
                   Arguments&&... arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0) return cudaSuccess;
  if (shape.shared_bytes > 8 * 1024) {  // 48 KiB with a kernel's own
    const cudaError_t error =
        cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(shape.shared_bytes));
    if (error != cudaSuccess) return error;
  }
  cudaLaunchAttribute attributes[3];
  unsigned count = 0;
  if (shape.cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count].val.clusterDim.x = static_cast<unsigned>(shape.cluster);
    attributes[count].val.clusterDim.y = 1;
    attributes[count].val.clusterDim.z = 1;
    ++count;
  }
  if (shape.overlap) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count].val.programmaticStreamSerializationAllowed = 1;
    ++count;
  }
  if (shape.together) {
    attributes[count].id = cudaLaunchAttributeCooperative;
    attributes[count].val.cooperative = 1;
    ++count;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = shape.stream;
  config.attrs = attributes;
  config.numAttrs = count;
  return cudaLaunchKernelEx(&config, kernel,
                            std::forward<Arguments>(arguments)...);
}

inline unsigned Blocks(int64_t items, int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_LAUNCH_H_
