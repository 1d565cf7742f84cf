// Matrix products of floats on tensor cores, with float32's accuracy.
#ifndef CHELA_KERNELS_CUDA_TENSOR_FLOAT_CUH_
#define CHELA_KERNELS_CUDA_TENSOR_FLOAT_CUH_

#include <cuda_runtime.h>

#include <cstdint>

namespace chela::cuda {

// A float as the sum of two that a tensor core takes whole (11 bits each, the
// second signed): x = high + low to 2^-23 of x. A product is then
// high high + high low + low high; what is dropped is below 2^-22 of it.
struct SplitFloat {
  uint32_t high = 0;
  uint32_t low = 0;
};
__device__ __forceinline__ SplitFloat Split(float x) {
  // Rounded to nearest, so that what is dropped has either sign.
  const uint32_t high = (__float_as_uint(x) + 0x1000u) & 0xffffe000u;
  return {high, __float_as_uint(x - __uint_as_float(high))};
}

__device__ __forceinline__ void MultiplyAdd(float (&sum)[4],
                                            const uint32_t (&a)[4],
                                            const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Where a lane stands in a fragment of 16 x 8 sums: rows `row` and row + 8,
// columns 2 pair and 2 pair + 1. A left fragment has its rows and the terms
// pair and pair + 4, a right one these terms and the column `row`.
struct FragmentLane {
  int row = 0;
  int pair = 0;
  __device__ FragmentLane()
      : row(static_cast<int>(threadIdx.x) % 32 / 4),
        pair(static_cast<int>(threadIdx.x) % 4) {}
};

// A warp's 16 x 64 sums: fragments of 8 columns. The large products and the
// corrections are summed apart, since a tensor core cuts each sum off.
struct WarpSums {
  float large[8][4] = {};
  float small[8][4] = {};
  __device__ __forceinline__ float At(int j, int i) const {
    return large[j][i] + small[j][i];
  }
};

// sums += left right for 8 terms: left(i) is value i of this lane's left
// fragment (row, row + 8; then both for the second term), right(j, i) term i
// of its column in fragment j. Of the two halves of four fragments those from
// `columns` on stay as they are. Fragments take turns, since a product that
// waits for the sum of the one before would wait for all of it.
template <typename Left, typename Right>
__device__ __forceinline__ void AddProducts(const Left& left,
                                            const Right& right, int columns,
                                            WarpSums* sums) {
  constexpr int kAtOnce = 4;
  uint32_t high[4];
  uint32_t low[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const SplitFloat split = Split(left(i));
    high[i] = split.high;
    low[i] = split.low;
  }
#pragma unroll
  for (int first = 0; first < 8; first += kAtOnce) {
    if (first >= columns) break;
    uint32_t right_high[kAtOnce][2];
    uint32_t right_low[kAtOnce][2];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const SplitFloat split = Split(right(first + j, i));
        right_high[j][i] = split.high;
        right_low[j][i] = split.low;
      }
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      MultiplyAdd(sums->small[first + j], low, right_high[j]);
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      MultiplyAdd(sums->large[first + j], high, right_high[j]);
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      MultiplyAdd(sums->small[first + j], high, right_low[j]);
    }
  }
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_TENSOR_FLOAT_CUH_
