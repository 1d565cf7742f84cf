// 64 value columns of a head for one group of 256 tokens: values in shared
// memory, and the group's own part of the state.
#ifndef CHELA_KERNELS_CUDA_ATTENTION_GROUP_TILE_CUH_
#define CHELA_KERNELS_CUDA_ATTENTION_GROUP_TILE_CUH_

#include <cstdint>

#include "kernels/cuda/attention_group.cuh"

namespace chela::cuda {

inline constexpr int kGroupThreads = 512;
inline constexpr int kGroupWarps = kGroupThreads / 32;

// A block's shared memory. Pieces of the keys take turns in the two buffers.
struct TileMemory {
  __device__ explicit TileMemory(void* memory)
      : values(static_cast<__half*>(memory), kGroupTokens),
        buffers(values.low + kGroupTokens * 64),
        powers(reinterpret_cast<float*>(buffers + 2 * kBuffer)),
        largest(reinterpret_cast<uint32_t*>(powers + kGroupTokens + 4)) {}
  __device__ SplitPlanes Buffer(int i) const {
    return {buffers + i * kBuffer, kTileKeys};
  }
  static constexpr int kBuffer = 2 * kTileKeys * 64;
  static constexpr size_t kBytes =
      (2 * kGroupTokens * 64 + 2 * kBuffer) * sizeof(__half) +
      (kGroupTokens + 4 + kGroupWarps) * sizeof(float);
  SplitPlanes values;
  __half* buffers;
  float* powers;      // [257]
  uint32_t* largest;  // [warps]
};

// What a block of threads works on.
struct Tile {
  const LinearAttention& op;
  const ChunkScratch& scratch;
  int head = 0;
  int first_column = 0;
  int64_t first_row = 0;  // of the group, in the step
  int64_t place = 0;      // of the group, in the working memory
  int64_t index = 0;      // of the tile among the step's
  int count = 0;          // tokens of the group

  // What blocks of BlocksOfHead a head are about: blockIdx.x is the head and
  // the tile, blockIdx.y the chunk.
  __device__ Tile(const LinearAttention& op, const ChunkScratch& scratch,
                  const Chunk& chunk, int group, const GroupSpan& span,
                  int across)
      : op(op),
        scratch(scratch),
        head(static_cast<int>(blockIdx.x) / across),
        first_column(static_cast<int>(blockIdx.x) % across * kTileColumns),
        first_row(chunk.first_row + (span.begin - chunk.position)),
        place(PlaceOf(scratch, static_cast<int>(blockIdx.y), group, first_row,
                      head)),
        index(int64_t{chunk.first_group + group} * gridDim.x + blockIdx.x),
        count(span.count()) {}

  __device__ int64_t StateAt(int key, int column) const {
    return (int64_t{head} * op.key_dim + key) * op.value_dim + first_column +
           column;
  }
  __device__ bool InState(int key, int column) const {
    return key < op.key_dim && first_column + column < op.value_dim;
  }
};

// The states of a chunk in the working memory, the first group's first.
__device__ __forceinline__ int64_t StateFloats(const LinearAttention& op) {
  return int64_t{op.heads} * op.key_dim * op.value_dim;
}
__device__ __forceinline__ float* StatesOf(const LinearAttention& op,
                                           const ChunkScratch& scratch,
                                           const Chunk& chunk) {
  return scratch.states +
         int64_t{chunk.first_group + blockIdx.y} * StateFloats(op);
}

// A thread's floats of kRows rows of 64 columns, of which kThreads threads take
// four each.
template <int kRows, int kThreads>
struct RawRows {
  static constexpr int kRoundRows = kThreads / 16;
  static constexpr int kRounds = kRows / kRoundRows;
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

// The exponent of what a block's threads have; `memory` is a place a warp.
template <int kWarps>
__device__ __forceinline__ int BlockExponent(uint32_t largest,
                                             uint32_t* memory) {
  memory[threadIdx.x / 32] = __reduce_max_sync(kWholeWarp, largest);
  __syncthreads();
  largest = 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) largest = max(largest, memory[i]);
  return ExponentOf(largest);
}

// Starts the copy of a piece of the keys into a buffer.
__device__ __forceinline__ void StartKeys(const Tile& tile, int piece,
                                          const SplitPlanes& to) {
#pragma unroll
  for (int first = 0; first < kPieceTokens; first += kGroupThreads / 16) {
    const int row = first + static_cast<int>(threadIdx.x) / 16;
    const int part = static_cast<int>(threadIdx.x) % 16;
    const int token = piece * kPieceTokens + row;
    const bool exists = token < tile.count;  // else zeros
    const __half* const from = tile.scratch.keys +
                               (tile.place + (exists ? token : 0)) * 128 +
                               part * 8;
    const __half* const at =
        (part < 8 ? to.high : to.low) + HalfAt(row, part % 8 * 8);
    StartCopy(from, exists, at);
  }
  EndCopies();
}

// A warp's part of the group's own state: 16 keys by 16 columns.
struct OwnState {
  static constexpr int kFragments = 2;
  float sums[kFragments][4] = {};
  int first_key = static_cast<int>(threadIdx.x) / 32 % 4 * 16;
  int first_column = static_cast<int>(threadIdx.x) / 128 * 16;

  // state = l^n state + a piece's n tokens.
  __device__ __forceinline__ void AddPiece(const TileMemory& memory, int piece,
                                           const SplitPlanes& keys, float decay,
                                           float scale) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    // Rows of the planes are tokens.
    const uint32_t left_at =
        SharedAddress(keys.high + HalfAt(lane / 16 * 8 + lane % 8,
                                         first_key + lane / 8 % 2 * 8));
    const uint32_t right_at =
        SharedAddress(memory.values.high + piece * kPieceTokens * 64 +
                      HalfAt(lane % 16, first_column + lane / 16 * 8));
    WarpSums<kFragments> own;
#pragma unroll
    for (int token = 0; token < kPieceTokens; token += 16) {
      LeftHalves left;
      LoadMatricesAt(left_at + token * kRowBytes, left.high);
      LoadMatricesAt(left_at + (kTileKeys + token) * kRowBytes, left.low);
      uint32_t high[4];
      uint32_t low[4];
      LoadMatricesAt(right_at + token * kRowBytes, high);
      LoadMatricesAt(right_at + (kGroupTokens + token) * kRowBytes, low);
      AddPair(left, high, low, 0, &own);
    }
#pragma unroll
    for (int j = 0; j < kFragments; ++j) {
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
    for (int j = 0; j < kFragments; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        use(first_key + lane.row + i / 2 * 8,
            first_column + 8 * j + 2 * lane.pair + i % 2, sums[j][i]);
      }
    }
  }
};

// Piece i of the keys goes to buffer i % 2.
__device__ __forceinline__ void StartFirstKeys(const Tile& tile,
                                               const TileMemory& memory) {
  StartKeys(tile, 0, memory.Buffer(0));
  if (tile.count > kPieceTokens) StartKeys(tile, 1, memory.Buffer(1));
}

// The own state of the whole group, whose first keys are under way. unit: of
// the values. Calls half(state) where the first half ends if there is more.
template <typename Half>
__device__ __forceinline__ OwnState SumState(const Tile& tile,
                                             const TileMemory& memory,
                                             float unit, const Half& half) {
  OwnState state;
  const int pieces = (tile.count + kPieceTokens - 1) / kPieceTokens;
#pragma unroll 1
  for (int piece = 0; piece < pieces; ++piece) {
    const int begin = piece * kPieceTokens;
    const float scale = tile.scratch.scales[tile.place + begin].z * unit;
    if (piece + 1 < pieces) {
      WaitForCopies<1>();
    } else {
      WaitForCopies<0>();
    }
    __syncthreads();
    const SplitPlanes keys = memory.Buffer(piece % 2);
    state.AddPiece(memory, piece, keys,
                   memory.powers[min(kPieceTokens, tile.count - begin)], scale);
    if (piece + 1 < pieces && begin + kPieceTokens == kHalfTokens) half(state);
    if (piece + 2 < pieces) {
      __syncthreads();  // the piece was read
      StartKeys(tile, piece + 2, keys);
    }
  }
  return state;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ATTENTION_GROUP_TILE_CUH_
