// What the product kernels share: the tensor cores' instruction, the left
// operand's elements and the finish.
#ifndef CHELA_KERNELS_CUDA_PRODUCT_MATH_CUH_
#define CHELA_KERNELS_CUDA_PRODUCT_MATH_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/product.h"

namespace chela::cuda {

// Inputs of a row that four lanes of a warp load together: a line of 128 bytes,
// each lane 8 inputs of its first half and 8 of its second.
inline constexpr int kChunk = 64;
inline constexpr int kSlices = 8;

// d += A B for a tile of 16 outputs, 16 inputs and 8 rows. The inputs of a tile
// may be any 16, as long as A and B name them in the same order.
template <typename T>
__device__ __forceinline__ void MultiplyAdd(float (&d)[4], uint32_t a0,
                                            uint32_t a1, uint32_t a2,
                                            uint32_t a3, uint32_t b0,
                                            uint32_t b1);
template <>
__device__ __forceinline__ void MultiplyAdd<__nv_bfloat16>(
    float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
    uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void MultiplyAdd<__half>(float (&d)[4], uint32_t a0,
                                                    uint32_t a1, uint32_t a2,
                                                    uint32_t a3, uint32_t b0,
                                                    uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Weights pass once: they leave the first-level cache to the rest, and are
// asked for where the source says, not where the compiler would.
__device__ __forceinline__ uint4 LoadWeights(const void* from) {
  uint4 out;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(out.x), "=r"(out.y), "=r"(out.z), "=r"(out.w)
               : "l"(from));
  return out;
}

// The 16 inputs of one lane in one chunk, `from` being the first half's.
struct LaneWeights {
  uint4 low, high;
};
__device__ __forceinline__ LaneWeights LoadLane(const uint16_t* from) {
  return {LoadWeights(from), LoadWeights(from + kChunk / 2)};
}

// The chunks of slice `slice`: the same cut for every kernel.
__device__ __forceinline__ int SliceBegin(int stride, int slice) {
  return stride / kChunk * slice / kSlices;
}

// What a lane holds of its 16 outputs (twice for kTiles 2) ahead of their use.
template <int kTiles, int kAhead>
struct SliceWeights {
  // Chunks chunk .. chunk + kAhead - 1, as far as they are before `end`.
  __device__ __forceinline__ void Load(const uint16_t* const (&rows)[kTiles],
                                       int64_t eight_rows, int chunk, int end) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (chunk + i >= end) break;
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const uint16_t* at = rows[tile] + (chunk + i) * kChunk;
        top[tile][i] = LoadLane(at);
        bottom[tile][i] = LoadLane(at + eight_rows);
      }
    }
  }

  LaneWeights top[kTiles][kAhead];
  LaneWeights bottom[kTiles][kAhead];
};

template <typename T>
__device__ __forceinline__ void MultiplyChunk(float (&sums)[4],
                                              const LaneWeights& top,
                                              const LaneWeights& bottom,
                                              const uint4& low,
                                              const uint4& high) {
  MultiplyAdd<T>(sums, top.low.x, bottom.low.x, top.low.y, bottom.low.y, low.x,
                 low.y);
  MultiplyAdd<T>(sums, top.low.z, bottom.low.z, top.low.w, bottom.low.w, low.z,
                 low.w);
  MultiplyAdd<T>(sums, top.high.x, bottom.high.x, top.high.y, bottom.high.y,
                 high.x, high.y);
  MultiplyAdd<T>(sums, top.high.z, bottom.high.z, top.high.w, bottom.high.w,
                 high.z, high.w);
}

// The tree that adds the slices: ((0+1)+(2+3))+((4+5)+(6+7)).
__device__ __forceinline__ float AddSlices(const float (&s)[kSlices]) {
  return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

__device__ __forceinline__ int64_t RowAt(const int32_t* list, int i) {
  return list == nullptr ? i : list[i];
}

// Elements [column, column + 4) of a left operand's row, zeros beyond cols.
__device__ __forceinline__ float4 LeftFour(const Product& p, const float* row,
                                           const NormStatistics& statistics,
                                           int column, bool aligned) {
  float v[4];
  if (aligned && column + 4 <= p.weight.cols) {
    const float4 four = __ldcg(reinterpret_cast<const float4*>(row + column));
    v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      v[i] = column + i < p.weight.cols ? __ldcg(row + column + i) : 0.0f;
    }
  }
  if (p.normed) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (column + i < p.weight.cols) {
        v[i] = Normalize(p.norm, statistics, v[i], column + i);
      }
    }
  }
  return make_float4(v[0], v[1], v[2], v[3]);
}

__device__ __forceinline__ bool RowsAligned(const Product& p) {
  return p.x_stride % 4 == 0 && reinterpret_cast<uintptr_t>(p.x) % 16 == 0;
}

// What the finish of one output reads besides the sums. The bias is a weight;
// the rest comes from earlier kernels.
struct FinishInputs {
  float bias = 0;
  float residual = 0;
  float candidate = 0;
  float gate = 0;
};
// Asks for the bias of a column.
__device__ __forceinline__ float LoadBias(const FinishArguments& f,
                                          int column) {
  return f.kind == Finish::kStore && f.bias != nullptr ? f.bias[column] : 0.0f;
}
__device__ __forceinline__ FinishInputs LoadFinishInputs(
    const FinishArguments& f, int64_t row, int column, float bias) {
  FinishInputs in;
  in.bias = bias;
  if (f.kind == Finish::kResidual || f.kind == Finish::kGated) {
    in.residual = __ldcg(f.residual + row * f.out_stride + column);
  }
  if (f.kind == Finish::kGated) {
    in.candidate = __ldcg(f.candidate + row * f.candidate_stride + column);
    in.gate = __ldcg(f.gate + row * f.gate_stride + column);
  }
  return in;
}

// s (and for kSwiglu s2) is the sum of one output.
__device__ __forceinline__ float FinishValue(const FinishArguments& f,
                                             const FinishInputs& in, float s,
                                             float s2) {
  switch (f.kind) {
    case Finish::kStore:
      return f.bias == nullptr ? s : s + in.bias;
    case Finish::kResidual:
      return in.residual + s;
    case Finish::kGated: {
      const float h = Silu(in.candidate + s);
      const float g = Sigmoid(in.gate);
      const float kept = (1.0f - g) * in.residual;
      return fmaf(g, h, kept);
    }
    case Finish::kSilu:
      return Silu(s);
    case Finish::kSwiglu:
      return Silu(s) * s2;
  }
  return s;
}

// Writes a finished output, rounded where only that is asked for.
template <typename T>
__device__ __forceinline__ void StoreFinished(const FinishArguments& f,
                                              int64_t row, int column,
                                              float value) {
  if (f.rounded != nullptr) {
    static_cast<uint16_t*>(f.rounded)[row * f.out_stride + column] =
        static_cast<uint16_t>(Round2<T>(value, 0.0f));
  } else {
    f.out[row * f.out_stride + column] = value;
  }
}

__device__ __forceinline__ void FinishOne(const FinishArguments& f, int64_t row,
                                          int column, float s, float s2) {
  f.out[row * f.out_stride + column] = FinishValue(
      f, LoadFinishInputs(f, row, column, LoadBias(f, column)), s, s2);
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_PRODUCT_MATH_CUH_
