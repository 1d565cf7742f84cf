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

// sum(term(x[j])) over this lane's elements of a row: every 32nd group of four,
// where the row is made of such groups; else every 32nd element. The
// first-level cache may keep the row: whoever normalises reads it again.
template <typename Term>
__device__ __forceinline__ float LaneSum(const float* x, int width,
                                         const Term& term) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float sum = 0;
  if (width % 4 == 0 && reinterpret_cast<uintptr_t>(x) % 16 == 0) {
#pragma unroll 8
    for (int j = lane * 4; j < width; j += 128) {
      const float4 four = *reinterpret_cast<const float4*>(x + j);
      sum = term(four.x, sum);
      sum = term(four.y, sum);
      sum = term(four.z, sum);
      sum = term(four.w, sum);
    }
  } else {
    for (int j = lane; j < width; j += 32) sum = term(x[j], sum);
  }
  return sum;
}

// The statistics of one row by one warp, the same in every lane: each lane's
// elements in ascending order, then the lanes as a tree.
__device__ __forceinline__ NormStatistics WarpNormStatistics(const float* x,
                                                             int width,
                                                             const Norm& norm) {
  NormStatistics out;
  if (norm.kind == NormKind::kLayer) {
    const float sum =
        LaneSum(x, width, [](float value, float sum) { return sum + value; });
    out.mean = WarpSum(sum) / static_cast<float>(width);
  }
  const float squares =
      LaneSum(x, width, [mean = out.mean](float value, float sum) {
        const float d = value - mean;
        return fmaf(d, d, sum);
      });
  out.scale =
      1.0f / sqrtf(WarpSum(squares) / static_cast<float>(width) + norm.eps);
  return out;
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
