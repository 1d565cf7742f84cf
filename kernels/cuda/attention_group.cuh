// A group of 256 tokens of the linear attention: what its kernels share.
#ifndef CHELA_KERNELS_CUDA_ATTENTION_GROUP_CUH_
#define CHELA_KERNELS_CUDA_ATTENTION_GROUP_CUH_

#include <cstdint>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_math.cuh"
#include "kernels/cuda/tensor_half.cuh"

namespace chela::cuda {

inline constexpr int kGroupTokens = kStateGroup;
inline constexpr int kPieceTokens = 64;  // whose keys have one scale
inline constexpr int kRowTile = 16;      // tokens of a warp's fragment

// The tokens of one group of a chunk.
struct GroupSpan {
  int groups = 0;     // of the chunk
  int64_t begin = 0;  // absolute positions
  int64_t end = 0;
  __device__ int count() const { return static_cast<int>(end - begin); }
};
__device__ __forceinline__ GroupSpan SpanOf(const Chunk& chunk, int group) {
  const int64_t first = chunk.position / kStateGroup;
  const int64_t chunk_end = chunk.position + chunk.rows;
  GroupSpan span;
  span.groups = static_cast<int>((chunk_end - 1) / kStateGroup - first) + 1;
  span.begin = max(chunk.position, (first + group) * kStateGroup);
  span.end = min(chunk_end, (first + group + 1) * kStateGroup);
  return span;
}

// l^0 .. l^256, by all threads of a block.
__device__ __forceinline__ void WritePowers(float decay, float* powers) {
  for (int i = static_cast<int>(threadIdx.x); i <= kGroupTokens;
       i += static_cast<int>(blockDim.x)) {
    powers[i] = Power(decay, i);
  }
}

// Where a row's queries and scores have their element `term`: of 32 terms
// those of a lane's two fragments (2 pair, 2 pair + 1, and 8, 16 and 24
// further on) stand together, and a lane loads them at once.
__device__ __forceinline__ int ScoreAt(int term) {
  return term / 32 * 32 + term % 8 / 2 * 8 + term % 32 / 8 * 2 + term % 2;
}

// Four floats of a row of which `left` exist, else 0.
__device__ __forceinline__ float4 LoadFour(const float* row, int left,
                                           bool aligned) {
  float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (aligned) {
    if (left > 0) x = *reinterpret_cast<const float4*>(row);
  } else {
    if (left > 0) x.x = row[0];
    if (left > 1) x.y = row[1];
    if (left > 2) x.z = row[2];
    if (left > 3) x.w = row[3];
  }
  return x;
}
__device__ __forceinline__ void StoreFour(float* row, int left, bool aligned,
                                          const float4& x) {
  if (aligned) {
    if (left > 0) *reinterpret_cast<float4*>(row) = x;
  } else {
    if (left > 0) row[0] = x.x;
    if (left > 1) row[1] = x.y;
    if (left > 2) row[2] = x.z;
    if (left > 3) row[3] = x.w;
  }
}
// Whether rows of `width` floats every `stride` can be moved 16 bytes at a
// time.
__device__ __forceinline__ bool MovesFours(const float* data, int64_t width,
                                           int64_t stride) {
  return width % 4 == 0 && stride % 4 == 0 &&
         reinterpret_cast<uintptr_t>(data) % 16 == 0;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ATTENTION_GROUP_CUH_
