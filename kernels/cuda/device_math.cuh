// Device functions that several kernels share. Products and sums are fused only
// where fmaf says so (the compiler is told not to on its own), so one function
// gives the same bits in every kernel.
#ifndef CHELA_KERNELS_CUDA_DEVICE_MATH_CUH_
#define CHELA_KERNELS_CUDA_DEVICE_MATH_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/norm_statistics.h"
#include "kernels/linear_attention.h"
#include "kernels/norm.h"

namespace chela::cuda {

inline constexpr unsigned kWholeWarp = 0xffffffffu;

// Until the kernels before this one are done and what they wrote can be read.
// Every thread of every kernel calls it, so that the order is kept through
// kernels that started early.
__device__ __forceinline__ void WaitForEarlier() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next kernel start, as far as there is room for it. It still waits
// for the end of this one.
__device__ __forceinline__ void LetLaterStart() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

__device__ __forceinline__ float Silu(float x) { return x / (1.0f + expf(-x)); }
__device__ __forceinline__ float Sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

__device__ __forceinline__ float Feature(FeatureMap map, float x) {
  switch (map) {
    case FeatureMap::kElu1:
      return x > 0.0f ? x + 1.0f : expf(x);
    case FeatureMap::kSilu:
      return Silu(x);
    case FeatureMap::kIdentity:
      return x;
  }
  return x;
}

// The sum over a warp, the same in every lane; one order for all.
__device__ __forceinline__ float WarpSum(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(kWholeWarp, x, offset);
  }
  return x;
}

// Threads of every block that normalises: the order of a row's sum is each
// thread's elements in ascending order, the lanes of a warp, the warps.
inline constexpr int kNormThreads = 256;
inline constexpr int kNormWarps = kNormThreads / 32;

// The sum over the block of each row's `mine`; all threads of the block call
// it.
template <int kRows>
__device__ __forceinline__ void BlockSums(int rows, const float (&mine)[kRows],
                                          float (&partial)[kRows][kNormWarps],
                                          float (&sums)[kRows]) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
  for (int m = 0; m < kRows; ++m) {
    if (m >= rows) break;
    const float sum = WarpSum(mine[m]);
    if (threadIdx.x % 32 == 0) partial[m][warp] = sum;
  }
  __syncthreads();
#pragma unroll
  for (int m = 0; m < kRows; ++m) {
    sums[m] = 0;
    if (m >= rows) continue;
#pragma unroll
    for (int i = 0; i < kNormWarps; ++i) sums[m] += partial[m][i];
  }
  __syncthreads();  // `partial` may be written again.
}

// Statistics of `rows` <= kRows rows; row(m) is where row m begins. All 256
// threads of the block call it and get all of them.
template <int kRows, typename Row>
__device__ __forceinline__ void BlockNormStatistics(
    int rows, const Row& row, int width, const Norm& norm,
    float (&partial)[kRows][kNormWarps], NormStatistics (&out)[kRows]) {
  float mine[kRows];
  float sums[kRows];
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int m = 0; m < kRows; ++m) out[m].mean = 0;
  if (norm.kind == NormKind::kLayer) {
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
      mine[m] = 0;
      if (m >= rows) continue;
      const float* x = row(m);
      for (int j = thread; j < width; j += kNormThreads) {
        mine[m] += __ldcg(x + j);
      }
    }
    BlockSums<kRows>(rows, mine, partial, sums);
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
      out[m].mean = sums[m] / static_cast<float>(width);
    }
  }
#pragma unroll
  for (int m = 0; m < kRows; ++m) {
    mine[m] = 0;
    if (m >= rows) continue;
    const float* x = row(m);
#pragma unroll 4
    for (int j = thread; j < width; j += kNormThreads) {
      const float d = __ldcg(x + j) - out[m].mean;
      mine[m] = fmaf(d, d, mine[m]);
    }
  }
  BlockSums<kRows>(rows, mine, partial, sums);
#pragma unroll
  for (int m = 0; m < kRows; ++m) {
    out[m].scale = 1.0f / sqrtf(sums[m] / static_cast<float>(width) + norm.eps);
  }
}

__device__ __forceinline__ float Normalize(const Norm& norm,
                                           const NormStatistics& statistics,
                                           float x, int column) {
  float y = (x - statistics.mean) * statistics.scale * norm.weight[column];
  if (norm.kind == NormKind::kLayer) y += norm.bias[column];
  return y;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_DEVICE_MATH_CUH_
