// Weights on their way through shared memory.
#ifndef CHELA_KERNELS_CUDA_WEIGHT_RING_CUH_
#define CHELA_KERNELS_CUDA_WEIGHT_RING_CUH_

#include <cstdint>

#include "kernels/cuda/product_math.cuh"

namespace chela::cuda {

inline constexpr int kTile = 16;                // outputs of one instruction
inline constexpr int kStagePitch = kChunk * 2;  // bytes of a staged row
// Where a byte of a staged row lies. Odd rows have their halves swapped: what
// eight lanes read at once, a half of two rows, lies in all banks.
__device__ __forceinline__ int StagedAt(int row, int byte) {
  return row * kStagePitch + (byte ^ row % 2 * kChunk);
}

__device__ __forceinline__ void CopyAsync(uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from)
               : "memory");
}
__device__ __forceinline__ void CommitCopies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void WaitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// A warp's own ring of kStages chunks of its 16 kTiles weight rows.
template <int kTiles, int kStages>
struct WeightRing {
  static constexpr int kStageBytes = kTiles * kTile * kStagePitch;
  static constexpr int kBytes = kStages * kStageBytes;

  unsigned char* memory;
  const uint16_t* rows[kTiles];  // the first of each tile, at this lane's part
  int64_t stride;

  // Asks for a chunk; a group of copies even if there is none.
  __device__ __forceinline__ void Ask(int chunk, int begin, int end) const {
    if (chunk < end) {
      const int lane = static_cast<int>(threadIdx.x) % 32;
      unsigned char* const stage =
          memory + (chunk - begin) % kStages * kStageBytes;
      const uint32_t to =
          static_cast<uint32_t>(__cvta_generic_to_shared(stage)) +
          StagedAt(lane / 8, lane % 8 * 16);
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const uint16_t* const from = rows[tile] + chunk * kChunk;
#pragma unroll
        for (int i = 0; i < kTile; i += 4) {
          CopyAsync(to + (tile * kTile + i) * kStagePitch, from + i * stride);
        }
      }
    }
    CommitCopies();
  }

  // 16 bytes of a tile's row.
  __device__ __forceinline__ uint4 At(int chunk, int begin, int row,
                                      int byte) const {
    return *reinterpret_cast<const uint4*>(
        memory + (chunk - begin) % kStages * kStageBytes + StagedAt(row, byte));
  }
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_WEIGHT_RING_CUH_
