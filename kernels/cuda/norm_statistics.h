#ifndef CHELA_KERNELS_CUDA_NORM_STATISTICS_H_
#define CHELA_KERNELS_CUDA_NORM_STATISTICS_H_

namespace chela::cuda {

// What turns a row x into Norm(x): (x - mean) * scale, then weight and bias.
struct NormStatistics {
  float mean = 0;
  float scale = 1;
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_NORM_STATISTICS_H_
