// What the product kernels of several rows share: which rows a block has and
// how a warp multiplies a chunk.
#ifndef CHELA_KERNELS_CUDA_PRODUCT_TILES_CUH_
#define CHELA_KERNELS_CUDA_PRODUCT_TILES_CUH_

#include <cstdint>

#include "kernels/cuda/product_math.cuh"
#include "kernels/cuda/weight_ring.cuh"

namespace chela::cuda {

// The rows of a block, kRows from blockIdx.y's first on, in shared memory.
template <int kRows>
struct BlockRows {
  // Returns how many there are; the lists are set after a __syncthreads. Rows
  // that are not there read one that is, so that loads need no branch.
  __device__ __forceinline__ int List(const Product& p) {
    const int first = static_cast<int>(blockIdx.y) * kRows;
    const int count = min(*p.count - first, kRows);
    const int i = static_cast<int>(threadIdx.x);
    if (i < kRows && count > 0) {
      const int row = first + (i < count ? i : 0);
      in[i] = static_cast<int32_t>(RowAt(p.in_rows, row));
      out[i] = static_cast<int32_t>(RowAt(p.out_rows, row));
    }
    return count;
  }

  int32_t in[kRows];  // of the left operand
  int32_t out[kRows];
};

// A lane's part of half a chunk of the left operand's rows.
template <int kRowTiles>
struct LeftHalf {
  __device__ __forceinline__ void Load(const uint16_t* const (&left)[kRowTiles],
                                       int chunk, int half) {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      b[r] = *reinterpret_cast<const uint4*>(left[r] + chunk * kChunk +
                                             half * (kChunk / 2));
    }
  }
  uint4 b[kRowTiles];
};

// Half a chunk: two instructions for each tile of outputs and of rows.
template <typename T, int kTiles, int kRowTiles, typename Ring>
__device__ __forceinline__ void MultiplyHalf(
    const Ring& ring, int chunk, int begin, int half,
    const LeftHalf<kRowTiles>& left, float (&sums)[kTiles][kRowTiles][4]) {
  const int g = static_cast<int>(threadIdx.x) % 32 / 4;
  const int t = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
  for (int k = 0; k < kTiles; ++k) {
    const int byte = half * kChunk + t * 16;
    const uint4 top = ring.At(chunk, begin, k * kTile + g, byte);
    const uint4 bottom = ring.At(chunk, begin, k * kTile + g + 8, byte);
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      const uint4& b = left.b[r];
      MultiplyAdd<T>(sums[k][r], top.x, bottom.x, top.y, bottom.y, b.x, b.y);
    }
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      const uint4& b = left.b[r];
      MultiplyAdd<T>(sums[k][r], top.z, bottom.z, top.w, bottom.w, b.z, b.w);
    }
  }
}

// A warp's sums, [rows, kPitch] of its part of the block's.
template <int kPitch, int kTiles, int kRowTiles>
__device__ __forceinline__ void PutSums(
    float* part, const float (&sums)[kTiles][kRowTiles][4]) {
  const int g = static_cast<int>(threadIdx.x) % 32 / 4;
  const int t = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
  for (int k = 0; k < kTiles; ++k) {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      float* const at = part + (r * 8 + 2 * t) * kPitch + k * kTile + g;
      at[0] = sums[k][r][0];
      at[kPitch] = sums[k][r][1];
      at[8] = sums[k][r][2];
      at[kPitch + 8] = sums[k][r][3];
    }
  }
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_PRODUCT_TILES_CUH_
