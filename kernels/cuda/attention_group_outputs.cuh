// Outputs of half a group of the linear attention: 64 value columns by one
// block, 16 tokens by each of its warps.
#ifndef CHELA_KERNELS_CUDA_ATTENTION_GROUP_OUTPUTS_CUH_
#define CHELA_KERNELS_CUDA_ATTENTION_GROUP_OUTPUTS_CUH_

#include <cooperative_groups.h>

#include "kernels/cuda/attention_group_fragments.cuh"

namespace chela::cuda {

// Exponents of what the block has in shared memory.
struct TileExponents {
  int values = 0;
  int state = 0;
};

// Fills the planes of the state at the half's start; all threads have them
// after the next barrier. `before`: at the group's start; `half`: the own part
// of what the group has before this half, if any.
__device__ __forceinline__ int ConvertState(const Tile& tile,
                                            const OutputMemory& memory,
                                            const float* before,
                                            const float* half) {
  const LinearAttention& op = tile.op;
  const auto load = [&](const float* from) {
    RawRows<kTileKeys, kOutputThreads> rows;
    rows.Load(from + tile.StateAt(0, 0), op.value_dim, op.key_dim,
              op.value_dim - tile.first_column,
              MovesFours(from, op.value_dim, op.value_dim));
    return rows;
  };
  auto state = load(before);
  if (half != nullptr) {
    const auto own = load(half);
    __syncthreads();  // the powers are there
    const float decay = memory.powers[kHalfTokens];
#pragma unroll
    for (int i = 0; i < state.kRounds; ++i) {
      float4& x = state.four[i];
      x = make_float4(
          fmaf(decay, x.x, own.four[i].x), fmaf(decay, x.y, own.four[i].y),
          fmaf(decay, x.z, own.four[i].z), fmaf(decay, x.w, own.four[i].w));
    }
  }
  const int exponent =
      BlockExponent<kOutputWarps>(state.Largest(), memory.largest);
  state.Store(memory.state, PowerOfTwo(kHalfExponent - exponent));
  return exponent;
}

// A warp's outputs of 16 tokens: a lane has 16 columns of two of them, two
// neighbours of every eight.
struct RowOutputs {
  float o[2][16] = {};
  int token[2] = {};  // of the group
  float2 scale[2];    // of the queries' sums and of the scores (WriteRows)

  __device__ RowOutputs(const Tile& tile, int first_token) {
    const FragmentLane lane;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      token[half] = first_token + lane.row + 8 * half;
      const float4 four =
          tile.scratch.scales[tile.place + min(token[half], tile.count - 1)];
      scale[half] = make_float2(four.x, four.y);
    }
  }
};

// sums = l^(t+1) S^T q_t, in the scores' and values' units, to go on with.
__device__ __forceinline__ void SumQueries(const OutputMemory& memory,
                                           const TileExponents& exponents,
                                           const RowOutputs& rows,
                                           FragmentRing* ring,
                                           WarpSums<8>* sums) {
  AddFragments<kTileKeys>(kTileKeys / 16, memory.state.high, ring, sums);
  const float unit = PowerOfTwo(exponents.state - exponents.values);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float factor = memory.powers[rows.token[i / 2] % kHalfTokens + 1] *
                         (rows.scale[i / 2].x * unit);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      sums->large[j][i] = factor * sums->At(j, i);
      sums->small[j][i] = 0.0f;
    }
  }
}

// o = sums + sum_{s<=t} scores[t][s] w_s. Leaves its squares' sums over the
// tile in `squares`.
__device__ __forceinline__ void SumScores(const OutputMemory& memory,
                                          const TileExponents& exponents,
                                          int first_token, FragmentRing* ring,
                                          WarpSums<8>* sums, RowOutputs* rows,
                                          float (&squares)[2]) {
  AddFragments<kHalfTokens>(first_token % kHalfTokens / 16 + 1,
                            memory.values.high, ring, sums);
  const float unit = PowerOfTwo(exponents.values - kHalfExponent);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      float& o = rows->o[half][i];
      o = sums->At(i / 2, 2 * half + i % 2) * rows->scale[half].y * unit;
      sum = fmaf(o, o, sum);
    }
    sum += __shfl_xor_sync(kWholeWarp, sum, 1);
    squares[half] = sum + __shfl_xor_sync(kWholeWarp, sum, 2);
  }
}

// A lane's 16 columns of a row; those that do not exist are 0, or not stored.
struct LaneColumns {
  float x[16];
  static __device__ int First() {
    return static_cast<int>(threadIdx.x) % 4 * 2;
  }
  // `row`: the tile's first column, of which `left` exist.
  __device__ __forceinline__ void Load(const float* row, int left,
                                       bool aligned) {
    row += First();
    left -= First();
    if (aligned) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        float2 two = make_float2(0.0f, 0.0f);
        if (8 * j < left) two = *reinterpret_cast<const float2*>(row + 8 * j);
        x[2 * j] = two.x;
        x[2 * j + 1] = two.y;
      }
      return;
    }
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int column = 8 * (i / 2) + i % 2;
      x[i] = column < left ? row[column] : 0.0f;
    }
  }
  __device__ __forceinline__ void Store(float* row, int left,
                                        bool aligned) const {
    row += First();
    left -= First();
    if (aligned) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        if (8 * j >= left) continue;
        *reinterpret_cast<float2*>(row + 8 * j) =
            make_float2(x[2 * j], x[2 * j + 1]);
      }
      return;
    }
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int column = 8 * (i / 2) + i % 2;
      if (column < left) row[column] = x[i];
    }
  }
};

// The blocks that share a head's columns. After Wait everyone has what the
// others wrote before their Tell.
struct HeadCluster {
  int size = 0;  // 0: the outputs are normed elsewhere
  __device__ int rank() const { return static_cast<int>(blockIdx.x) % size; }
  // Tell of a block that has written nothing yet.
  __device__ __forceinline__ void TellStart() const {
#if __CUDA_ARCH__ >= 900
    if (size > 1) asm volatile("barrier.cluster.arrive.relaxed;");
#endif
  }
  __device__ __forceinline__ void Tell() const {
#if __CUDA_ARCH__ >= 900
    if (size > 1) asm volatile("barrier.cluster.arrive;" ::: "memory");
#endif
  }
  __device__ __forceinline__ void Wait() const {
#if __CUDA_ARCH__ >= 900
    if (size > 1) {
      asm volatile("barrier.cluster.wait;" ::: "memory");
      return;
    }
#endif
    if (size == 1) __syncthreads();
  }
  // Puts `value` at place `at`, within this block's memory, of every `step`th
  // block's from `first` on.
  __device__ __forceinline__ void Put(float* at, float value, int first,
                                      int step) const {
    for (int to = first; to < size; to += step) {
#if __CUDA_ARCH__ >= 900
      if (size > 1) {
        *cooperative_groups::this_cluster().map_shared_rank(at, to) = value;
        continue;
      }
#endif
      *at = value;
    }
  }
};

// Tells all blocks of the cluster the squares of a warp's outputs.
__device__ __forceinline__ void PutSquares(const OutputMemory& memory,
                                           const RowOutputs& rows,
                                           const float (&squares)[2],
                                           const HeadCluster& cluster) {
  if (cluster.size == 0) return;
  const FragmentLane lane;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    cluster.Put(memory.squares + cluster.rank() * kHalfTokens +
                    rows.token[half] % kHalfTokens,
                squares[half], lane.pair, 4);
  }
}

// Stores a warp's outputs, normed and gated if the cluster has blocks.
__device__ __forceinline__ void StoreRows(const Tile& tile,
                                          const OutputMemory& memory,
                                          const RowOutputs& rows,
                                          const HeadCluster& cluster) {
  const LinearAttention& op = tile.op;
  const int first = tile.head * op.value_dim + tile.first_column;
  const int left = op.value_dim - tile.first_column;
  const bool aligned = MovesFours(op.out, op.value_dim, op.value_dim);
  LaneColumns reset[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const bool exists = cluster.size > 0 && rows.token[half] < tile.count;
    reset[half].Load(op.reset.data +
                         (tile.first_row + rows.token[half]) * op.reset.stride +
                         first,
                     exists ? left : 0,
                     MovesFours(op.reset.data, op.value_dim, op.reset.stride));
  }
  LaneColumns weight;
  weight.Load(op.norm_weight + first, cluster.size > 0 ? left : 0,
              MovesFours(op.norm_weight, op.value_dim, op.value_dim));
  cluster.Wait();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int token = rows.token[half];
    LaneColumns o;
    float all = 0;
    for (int i = 0; i < cluster.size; ++i) {
      all += memory.squares[i * kHalfTokens + token % kHalfTokens];
    }
    const float scale = HeadScale(op, all);
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      o.x[i] = cluster.size == 0 ? rows.o[half][i]
                                 : SiluOfMany(reset[half].x[i]) *
                                       (rows.o[half][i] * scale * weight.x[i]);
    }
    if (token >= tile.count) continue;
    o.Store(op.out + (tile.first_row + token) * op.heads * op.value_dim + first,
            left, aligned);
  }
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ATTENTION_GROUP_OUTPUTS_CUH_
