// A group of 256 tokens of the linear attention: what its kernels share.
#ifndef CHELA_KERNELS_CUDA_ATTENTION_GROUP_CUH_
#define CHELA_KERNELS_CUDA_ATTENTION_GROUP_CUH_

#include <cstdint>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_math.cuh"
#include "kernels/cuda/tensor_half.cuh"

namespace chela::cuda {

inline constexpr int kGroupTokens = kStateGroup;
inline constexpr int kHalfTokens = kHalfGroup;
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

// The first token of a group in the working memory.
__device__ __forceinline__ int64_t PlaceOf(const ChunkScratch& scratch,
                                           int chunk, int group,
                                           int64_t first_row, int head) {
  return head * scratch.rows + first_row +
         kRowTile * (2 * chunk + (group > 0 ? 1 : 0));
}

// A left fragment in the working memory: 16 bytes of each lane, high, then low.
inline constexpr int kFragmentHalves = 2 * 16 * 16;
__device__ __forceinline__ void StoreFragment(const LeftHalves& fragment,
                                              __half* to) {
  auto* const lane = reinterpret_cast<uint4*>(to) + threadIdx.x % 32;
  lane[0] = make_uint4(fragment.high[0], fragment.high[1], fragment.high[2],
                       fragment.high[3]);
  lane[32] = make_uint4(fragment.low[0], fragment.low[1], fragment.low[2],
                        fragment.low[3]);
}

// Starts the copy of 16 bytes to shared memory; zeros if they do not exist.
__device__ __forceinline__ void StartCopy(const __half* from, bool exists,
                                          const __half* to) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(exists ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void EndCopies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kLater>  // groups of copies that may still be under way
__device__ __forceinline__ void WaitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLater) : "memory");
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
