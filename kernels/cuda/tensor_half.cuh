// Matrix products of floats on tensor cores, with float32's accuracy.
#ifndef CHELA_KERNELS_CUDA_TENSOR_HALF_CUH_
#define CHELA_KERNELS_CUDA_TENSOR_HALF_CUH_

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace chela::cuda {

// A group of floats whose largest is in [2^e, 2^(e+1)) is scaled by 2^(13 - e)
// and each taken as the sum of two halves of 11 bits,
//   x = high + 2^-11 low,
// to 2^-23 of x down to 2^-28 of the largest, to 2^-50 of the largest below. A
// product is then high high + 2^-11 (high low + low high); what is dropped is
// at most 2^-22 of it. Sums of 2^100 products do not overflow.
inline constexpr int kHalfExponent = 13;
inline constexpr float kLowUnit = 1.0f / 2048.0f;

// e, from the bits of the largest absolute value; at least -40, so that scales
// of zeros stay in range.
__device__ __forceinline__ int ExponentOf(uint32_t largest) {
  return max(static_cast<int>(largest >> 23) - 127, -40);
}
// 2^n; the least normal number below its exponent, infinity beyond the range.
__device__ __forceinline__ float PowerOfTwo(int n) {
  return __uint_as_float(static_cast<uint32_t>(min(max(n, -126), 128) + 127)
                         << 23);
}
__device__ __forceinline__ uint32_t LargerBits(uint32_t largest, float x) {
  return max(largest, __float_as_uint(x) & 0x7fffffffu);
}
__device__ __forceinline__ uint32_t LargestBits(const float4& x) {
  return LargerBits(LargerBits(LargerBits(LargerBits(0, x.x), x.y), x.z), x.w);
}

// Two neighbours, the first in the low half of each word.
struct SplitPair {
  uint32_t high = 0;
  uint32_t low = 0;
};
__device__ __forceinline__ SplitPair Split(float x, float y) {
  const __half2 high = __floats2half2_rn(x, y);
  const float2 back = __half22float2(high);
  const __half2 low =
      __floats2half2_rn((x - back.x) * 2048.0f, (y - back.y) * 2048.0f);
  return {*reinterpret_cast<const uint32_t*>(&high),
          *reinterpret_cast<const uint32_t*>(&low)};
}

// Where an element of a plane lies in shared memory: rows of 64 halves, whose
// eighths change places so that eight rows' are in different banks.
__device__ __forceinline__ int HalfAt(int row, int column) {
  return row * 64 + ((column / 8) ^ (row % 8)) * 8 + column % 8;
}

inline constexpr uint32_t kRowBytes = 64 * sizeof(__half);

// A matrix of rows of 64 as two planes, low `rows` rows behind high.
struct SplitPlanes {
  __half* high = nullptr;
  __half* low = nullptr;
  __device__ SplitPlanes(__half* memory, int rows)
      : high(memory), low(memory + rows * 64) {}
  __device__ __forceinline__ void Store(int row, int column, const float4& x,
                                        float scale) const {
    const SplitPair first = Split(x.x * scale, x.y * scale);
    const SplitPair second = Split(x.z * scale, x.w * scale);
    const int at = HalfAt(row, column);
    *reinterpret_cast<uint2*>(high + at) = make_uint2(first.high, second.high);
    *reinterpret_cast<uint2*>(low + at) = make_uint2(first.low, second.low);
  }
};

// Four 8 x 8 matrices, this lane giving the address of row lane % 8 of matrix
// lane / 8; each as a fragment, or with rows and columns exchanged.
template <bool kExchanged>
__device__ __forceinline__ void LoadMatrices(const __half* row,
                                             uint32_t (&to)[4]) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (kExchanged) {
    asm volatile(
        "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, "
        "[%4];"
        : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
        : "r"(address));
  } else {
    asm volatile(
        "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
        : "r"(address));
  }
}

__device__ __forceinline__ uint32_t SharedAddress(const __half* place) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(place));
}
// LoadMatrices<true> from an address, for those that only move on: HalfAt of 16
// rows further is 16 kRowBytes further.
__device__ __forceinline__ void LoadMatricesAt(uint32_t row,
                                               uint32_t (&to)[4]) {
  asm volatile(
      "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
      : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
      : "r"(row));
}

__device__ __forceinline__ void MultiplyAdd(float (&sum)[4],
                                            const uint32_t (&a)[4],
                                            uint32_t b_first,
                                            uint32_t b_second) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b_first),
        "r"(b_second));
}

// Where a lane stands in a fragment of 16 x 8 sums: rows `row` and row + 8,
// columns 2 pair and 2 pair + 1.
struct FragmentLane {
  int row = 0;
  int pair = 0;
  __device__ FragmentLane()
      : row(static_cast<int>(threadIdx.x) % 32 / 4),
        pair(static_cast<int>(threadIdx.x) % 4) {}
};

// A left fragment of 16 rows and 16 terms.
struct LeftHalves {
  uint32_t high[4];
  uint32_t low[4];
};

// A warp's 16 x 8 kCount sums. The large products and the corrections are
// summed apart, since a tensor core cuts each sum off.
template <int kCount>
struct WarpSums {
  float large[kCount][4] = {};
  float small[kCount][4] = {};
  __device__ __forceinline__ float At(int j, int i) const {
    return fmaf(small[j][i], kLowUnit, large[j][i]);
  }
};

// sums += left right for 16 terms and fragments 2 pair and 2 pair + 1. Products
// that wait for each other's sums stand apart.
template <int kCount>
__device__ __forceinline__ void AddPair(const LeftHalves& left,
                                        const uint32_t (&high)[4],
                                        const uint32_t (&low)[4], int pair,
                                        WarpSums<kCount>* sums) {
  float(&small)[4] = sums->small[2 * pair];
  float(&next_small)[4] = sums->small[2 * pair + 1];
  MultiplyAdd(small, left.low, high[0], high[1]);
  MultiplyAdd(next_small, left.low, high[2], high[3]);
  MultiplyAdd(sums->large[2 * pair], left.high, high[0], high[1]);
  MultiplyAdd(sums->large[2 * pair + 1], left.high, high[2], high[3]);
  MultiplyAdd(small, left.high, low[0], low[1]);
  MultiplyAdd(next_small, left.high, low[2], low[3]);
}

// The same for all fragments; right(pair, low, to) loads two.
template <int kCount, typename Right>
__device__ __forceinline__ void AddProducts(const LeftHalves& left,
                                            const Right& right,
                                            WarpSums<kCount>* sums) {
#pragma unroll
  for (int pair = 0; pair < kCount / 2; ++pair) {
    uint32_t high[4];
    uint32_t low[4];
    right(pair, false, high);
    right(pair, true, low);
    AddPair(left, high, low, pair, sums);
  }
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_TENSOR_HALF_CUH_
