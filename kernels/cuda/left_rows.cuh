// The left operand on its way into the tensor cores' registers.
#ifndef CHELA_KERNELS_CUDA_LEFT_ROWS_CUH_
#define CHELA_KERNELS_CUDA_LEFT_ROWS_CUH_

#include <cstdint>

#include "kernels/cuda/product_math.cuh"

namespace chela::cuda {

// Where a lane's rows of the left operand lie.
template <int kRowTiles>
struct LeftRows {
  const uint16_t* first = nullptr;
  int32_t offsets[kRowTiles] = {};  // elements
};

// A lane's part of half a chunk of the left operand's rows.
template <int kRowTiles>
struct LeftHalf {
  __device__ __forceinline__ void Load(const LeftRows<kRowTiles>& left,
                                       int chunk, int half) {
    const uint16_t* const from =
        left.first + chunk * kChunk + half * (kChunk / 2);
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      b[r] = *reinterpret_cast<const uint4*>(from + left.offsets[r]);
    }
  }
  uint4 b[kRowTiles];
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_LEFT_ROWS_CUH_
