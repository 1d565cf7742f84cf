// Outputs of a group of the linear attention: 64 value columns by one block.
#ifndef CHELA_KERNELS_CUDA_ATTENTION_GROUP_OUTPUTS_CUH_
#define CHELA_KERNELS_CUDA_ATTENTION_GROUP_OUTPUTS_CUH_

#include <cooperative_groups.h>

#include "kernels/cuda/attention_group_tile.cuh"

namespace chela::cuda {

// 32 terms of a row's queries or scores as this lane's part of two fragments.
struct LeftRows {
  uint4 high[2];
  uint4 low[2];
  // rows: of `row` and row + 8; the low halves are `width` behind the high.
  __device__ __forceinline__ LeftRows(const __half* const (&rows)[2], int at,
                                      int width) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      high[i] = *reinterpret_cast<const uint4*>(rows[i] + at);
      low[i] = *reinterpret_cast<const uint4*>(rows[i] + width + at);
    }
  }
  __device__ __forceinline__ LeftHalves First() const {
    return {{high[0].x, high[1].x, high[0].y, high[1].y},
            {low[0].x, low[1].x, low[0].y, low[1].y}};
  }
  __device__ __forceinline__ LeftHalves Second() const {
    return {{high[0].z, high[1].z, high[0].w, high[1].w},
            {low[0].z, low[1].z, low[0].w, low[1].w}};
  }
};

// Exponents of what the block has in shared memory.
struct TileExponents {
  int values = 0;
  int state = 0;
};

// o = l^(t+1) S^T q_t + sum_{s<=t} scores[t][s] w_s of 16 tokens, by one warp.
// Leaves o in op.out and its squares' sums over the tile in `squares`.
__device__ __forceinline__ void WriteRowTile(const Tile& tile,
                                             const TileMemory& memory,
                                             const TileExponents& exponents,
                                             bool zero, int first_token,
                                             float (&squares)[2]) {
  const FragmentLane lane;
  const int own[2] = {first_token + lane.row, first_token + lane.row + 8};
  int64_t rows[2];
  const __half* left[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    rows[i] = tile.RowAndHead(min(own[i], tile.count - 1));
    left[i] = tile.scratch.queries + rows[i] * 128 + 8 * lane.pair;
  }
  WarpSums<8> sums;
  if (!zero) {
    const SplitPlanes state = memory.Buffer(0);
#pragma unroll
    for (int key = 0; key < kTileKeys; key += 32) {
      const LeftRows queries(left, key, kTileKeys);
      AddProducts<8>(queries.First(), RowTerms{state, key, 0}, &sums);
      AddProducts<8>(queries.Second(), RowTerms{state, key + 16, 0}, &sums);
    }
    // In the scores' and values' units, to go on with.
    const float unit = PowerOfTwo(exponents.state - exponents.values);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float factor = memory.powers[min(own[i / 2], tile.count - 1) + 1] *
                           (tile.scratch.scales[rows[i / 2]].x * unit);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        sums.large[j][i] = factor * sums.At(j, i);
        sums.small[j][i] = 0.0f;
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    left[i] = tile.scratch.scores + rows[i] * 2 * kGroupTokens + 8 * lane.pair;
  }
  LeftRows scores(left, 0, kGroupTokens);
#pragma unroll 1
  for (int token = 0; token < first_token + kRowTile; token += 32) {
    // The next ones are under way during the products.
    const LeftRows next(left, min(token + 32, first_token / 32 * 32),
                        kGroupTokens);
    AddProducts<8>(scores.First(), RowTerms{memory.values, token, 0}, &sums);
    AddProducts<8>(scores.Second(), RowTerms{memory.values, token + 16, 0},
                   &sums);
    scores = next;
  }
  const float unit = PowerOfTwo(exponents.values - kHalfExponent);
  const bool aligned =
      MovesFours(tile.op.out, tile.op.value_dim, tile.op.value_dim);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float scale = tile.scratch.scales[rows[half]].y;
    float* const to =
        tile.op.out + rows[half] * tile.op.value_dim + tile.first_column;
    float sum = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float low = sums.At(j, 2 * half) * scale * unit;
      const float high = sums.At(j, 2 * half + 1) * scale * unit;
      sum = fmaf(high, high, fmaf(low, low, sum));
      const int column = 8 * j + 2 * lane.pair;
      const int there = own[half] < tile.count
                            ? tile.op.value_dim - tile.first_column - column
                            : 0;
      if (aligned) {
        if (there > 0) {
          *reinterpret_cast<float2*>(to + column) = make_float2(low, high);
        }
      } else {
        if (there > 0) to[column] = low;
        if (there > 1) to[column + 1] = high;
      }
    }
    sum += __shfl_xor_sync(kWholeWarp, sum, 1);
    squares[half] = sum + __shfl_xor_sync(kWholeWarp, sum, 2);
  }
}

// The blocks that share a head's columns. After Wait everyone has what the
// others wrote before their Tell.
struct HeadCluster {
  int size = 0;  // 0: the outputs are normed elsewhere
  __device__ int rank() const { return static_cast<int>(blockIdx.x) % size; }
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

// Norms and gates the outputs that the block left, once all tiles' squares are
// there.
__device__ __forceinline__ void GateGroup(const Tile& tile,
                                          const TileMemory& memory,
                                          int cluster) {
  const LinearAttention& op = tile.op;
  const int thread = static_cast<int>(threadIdx.x);
  float all = 0;
  for (int i = 0; i < cluster; ++i) {
    all += memory.squares[i * kGroupTokens + thread];
  }
  memory.squares[thread] = HeadScale(op, all);
  __syncthreads();
  const int column = thread % 16 * 4;
  const int over_all = tile.head * op.value_dim + tile.first_column + column;
  const int left = op.value_dim - tile.first_column - column;
  const bool aligned = MovesFours(op.out, op.value_dim, op.value_dim);
  const bool aligned_reset =
      MovesFours(op.reset.data, op.value_dim, op.reset.stride);
  const float4 weight = LoadFour(op.norm_weight + over_all, left, false);
  constexpr int kAtOnce = 4;
#pragma unroll 1
  for (int first = thread / 16; first < tile.count;
       first += kAtOnce * kRoundRows) {
    float4 o[kAtOnce];
    float4 reset[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int token = first + i * kRoundRows;
      const int there = token < tile.count ? left : 0;
      const int64_t row = tile.first_row + token;
      o[i] = LoadFour(op.out + row * op.heads * op.value_dim + over_all, there,
                      aligned);
      reset[i] = LoadFour(op.reset.data + row * op.reset.stride + over_all,
                          there, aligned_reset);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int token = first + i * kRoundRows;
      if (token >= tile.count) break;
      const float scale = memory.squares[token];
      StoreFour(op.out + (tile.first_row + token) * op.heads * op.value_dim +
                    over_all,
                left, aligned,
                make_float4(Gate(o[i].x, scale, reset[i].x, weight.x),
                            Gate(o[i].y, scale, reset[i].y, weight.y),
                            Gate(o[i].z, scale, reset[i].z, weight.z),
                            Gate(o[i].w, scale, reset[i].w, weight.w)));
    }
  }
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ATTENTION_GROUP_OUTPUTS_CUH_
