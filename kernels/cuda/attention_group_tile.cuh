// 64 value columns of a head for one group of 256 tokens, in shared memory.
#ifndef CHELA_KERNELS_CUDA_ATTENTION_GROUP_TILE_CUH_
#define CHELA_KERNELS_CUDA_ATTENTION_GROUP_TILE_CUH_

#include <cstdint>

#include "kernels/cuda/attention_group.cuh"

namespace chela::cuda {

inline constexpr int kGroupThreads = 256;
inline constexpr int kGroupWarps = kGroupThreads / 32;
inline constexpr int kRoundRows = kGroupThreads / 16;

// A block's shared memory. Of the two buffers one has the state at the group's
// start while outputs are computed; pieces of the keys take turns in both.
struct TileMemory {
  __device__ explicit TileMemory(void* memory)
      : values(static_cast<__half*>(memory), kGroupTokens),
        buffers(values.low + kGroupTokens * 64),
        powers(reinterpret_cast<float*>(buffers + 2 * kBuffer)),
        squares(powers + kGroupTokens + 4),
        largest(reinterpret_cast<uint32_t*>(squares +
                                            kMaxCluster * kGroupTokens)) {}
  __device__ SplitPlanes Buffer(int i) const {
    return {buffers + i * kBuffer, kTileKeys};
  }
  static constexpr int kBuffer = 2 * kTileKeys * 64;
  static constexpr size_t kBytes =
      (2 * kGroupTokens * 64 + 2 * kBuffer) * sizeof(__half) +
      (kGroupTokens + 4 + kMaxCluster * kGroupTokens + 2 * kGroupWarps) *
          sizeof(float);
  SplitPlanes values;
  __half* buffers;
  float* powers;      // [257]
  float* squares;     // [8, 256]: of every tile of the head
  uint32_t* largest;  // [2, warps]
};

// What a block of threads works on.
struct Tile {
  const LinearAttention& op;
  const ChunkScratch& scratch;
  int head = 0;
  int first_column = 0;
  int64_t first_row = 0;  // of the group, in the step
  int64_t place = 0;      // of the group, in the working memory
  int count = 0;          // tokens of the group

  __device__ int64_t StateAt(int key, int column) const {
    return (int64_t{head} * op.key_dim + key) * op.value_dim + first_column +
           column;
  }
  __device__ bool InState(int key, int column) const {
    return key < op.key_dim && first_column + column < op.value_dim;
  }
  __device__ int64_t StateFloats() const {
    return int64_t{op.heads} * op.key_dim * op.value_dim;
  }
};

// A thread's floats of rows of 64 columns: four of every 16th row.
template <int kRounds>
struct RawRows {
  float4 four[kRounds];

  // `from`: the first row; `left` columns of it exist.
  __device__ __forceinline__ void Load(const float* from, int64_t stride,
                                       int rows, int left, bool aligned) {
    const int first = static_cast<int>(threadIdx.x) / 16;
    const int column = static_cast<int>(threadIdx.x) % 16 * 4;
    from += first * stride + column;
    left -= column;
    // Apart, so that no branch stands between the loads.
    if (aligned) {
#pragma unroll
      for (int i = 0; i < kRounds; ++i) {
        four[i] = LoadFour(from + i * kRoundRows * stride,
                           first + i * kRoundRows < rows ? left : 0, true);
      }
    } else {
#pragma unroll
      for (int i = 0; i < kRounds; ++i) {
        four[i] = LoadFour(from + i * kRoundRows * stride,
                           first + i * kRoundRows < rows ? left : 0, false);
      }
    }
  }
  __device__ __forceinline__ uint32_t Largest() const {
    uint32_t largest = 0;
#pragma unroll
    for (int i = 0; i < kRounds; ++i) {
      largest = max(largest, LargestBits(four[i]));
    }
    return largest;
  }
  __device__ __forceinline__ void Store(const SplitPlanes& planes,
                                        float scale) const {
#pragma unroll
    for (int i = 0; i < kRounds; ++i) {
      planes.Store(i * kRoundRows + static_cast<int>(threadIdx.x) / 16,
                   static_cast<int>(threadIdx.x) % 16 * 4, four[i], scale);
    }
  }
};

// Starts the copy of a piece of the keys into a buffer.
__device__ __forceinline__ void StartKeys(const Tile& tile, int piece,
                                          const SplitPlanes& to) {
#pragma unroll
  for (int i = 0; i < kPieceTokens / kRoundRows; ++i) {
    const int row = i * kRoundRows + static_cast<int>(threadIdx.x) / 16;
    const int part = static_cast<int>(threadIdx.x) % 16;
    const int token = piece * kPieceTokens + row;
    const bool exists = token < tile.count;  // else zeros
    const __half* const from = tile.scratch.keys +
                               (tile.place + (exists ? token : 0)) * 128 +
                               part * 8;
    const __half* const at =
        (part < 8 ? to.high : to.low) + HalfAt(row, part % 8 * 8);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                     static_cast<uint32_t>(__cvta_generic_to_shared(at))),
                 "l"(from), "r"(exists ? 16 : 0)
                 : "memory");
  }
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kLater>  // pieces that may still be under way
__device__ __forceinline__ void WaitForKeys() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLater) : "memory");
}

// A warp's part of the group's own state: 16 keys by 32 columns.
struct OwnState {
  float sums[4][4] = {};
  int first_key = static_cast<int>(threadIdx.x) / 32 % 4 * 16;
  int first_column = static_cast<int>(threadIdx.x) / 128 * 32;

  // state = l^n state + a piece's n tokens.
  __device__ __forceinline__ void AddPiece(const TileMemory& memory, int piece,
                                           const SplitPlanes& keys, float decay,
                                           float scale) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    WarpSums<4> own;
#pragma unroll
    for (int token = 0; token < kPieceTokens; token += 16) {
      LeftHalves left;
      const int at = HalfAt(token + lane / 16 * 8 + lane % 8,
                            first_key + lane / 8 % 2 * 8);
      LoadMatrices<true>(keys.high + at, left.high);
      LoadMatrices<true>(keys.low + at, left.low);
      AddProducts<4>(
          left,
          RowTerms{memory.values, piece * kPieceTokens + token, first_column},
          &own);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sums[j][i] = fmaf(decay, sums[j][i], own.At(j, i) * scale);
      }
    }
  }

  // Calls use(key, column, sum) for every element.
  template <typename Use>
  __device__ __forceinline__ void ForEach(const Use& use) const {
    const FragmentLane lane;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        use(first_key + lane.row + i / 2 * 8,
            first_column + 8 * j + 2 * lane.pair + i % 2, sums[j][i]);
      }
    }
  }
};

// The own state of the whole group. Piece 0 is under way to buffer 1; buffer 0
// is free once all threads are here. unit: of the values.
__device__ __forceinline__ OwnState SumState(const Tile& tile,
                                             const TileMemory& memory,
                                             float unit) {
  OwnState state;
  const int pieces = (tile.count + kPieceTokens - 1) / kPieceTokens;
#pragma unroll 1
  for (int piece = 0; piece < pieces; ++piece) {
    __syncthreads();  // the piece before was read
    if (piece + 1 < pieces) {
      StartKeys(tile, piece + 1, memory.Buffer(piece % 2));
      WaitForKeys<1>();
    } else {
      WaitForKeys<0>();
    }
    __syncthreads();
    const int begin = piece * kPieceTokens;
    state.AddPiece(memory, piece, memory.Buffer((piece + 1) % 2),
                   memory.powers[min(kPieceTokens, tile.count - begin)],
                   tile.scratch.scales[tile.place + begin].z * unit);
  }
  return state;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ATTENTION_GROUP_TILE_CUH_
