// Device functions that several kernels share. Products and sums are fused only
// where fmaf says so (the compiler is told not to on its own), so one function
// gives the same bits in every kernel.
#ifndef CHELA_KERNELS_CUDA_DEVICE_MATH_CUH_
#define CHELA_KERNELS_CUDA_DEVICE_MATH_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/norm_statistics.h"
#include "kernels/cuda/rounded_out.h"
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

// Two floats rounded to nearest even, the first in the low half.
template <typename T>
__device__ __forceinline__ uint32_t Round2(float low, float high);
template <>
__device__ __forceinline__ uint32_t Round2<__nv_bfloat16>(float low,
                                                          float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
template <>
__device__ __forceinline__ uint32_t Round2<__half>(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

__device__ __forceinline__ uint32_t Round2(DType dtype, float low, float high) {
  return dtype == DType::kBF16 ? Round2<__nv_bfloat16>(low, high)
                               : Round2<__half>(low, high);
}

__device__ __forceinline__ void StoreRounded(const RoundedOut& out, int64_t at,
                                             float value) {
  if (out.data == nullptr) return;
  static_cast<uint16_t*>(out.data)[at] =
      static_cast<uint16_t>(Round2(out.dtype, value, 0.0f));
}

// The sum over a warp, the same in every lane; one order for all.
__device__ __forceinline__ float WarpSum(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(kWholeWarp, x, offset);
  }
  return x;
}

// The terms of four neighbours: what a lane adds to its sum at once.
template <typename Term>
__device__ __forceinline__ float SumOfFour(const float4& x, const Term& term) {
  return term(x.w, term(x.z, term(x.y, term(x.x, 0.0f))));
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
      sum += SumOfFour(*reinterpret_cast<const float4*>(x + j), term);
    }
  } else {
    for (int j = lane; j < width; j += 32) sum = term(x[j], sum);
  }
  return sum;
}

// The statistics of one row by one warp, the same in every lane: each lane's
// groups of four in ascending order, then the lanes as a tree.
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
