// Outputs of a group of the linear attention: 64 value columns by one block.
#ifndef CHELA_KERNELS_CUDA_ATTENTION_GROUP_OUTPUTS_CUH_
#define CHELA_KERNELS_CUDA_ATTENTION_GROUP_OUTPUTS_CUH_

#include <cooperative_groups.h>

#include "kernels/cuda/attention_group_tile.cuh"

namespace chela::cuda {

// Exponents of what the block has in shared memory.
struct TileExponents {
  int values = 0;
  int state = 0;
};

// A lane's 16 columns of a token, two neighbours of every eight.
__device__ __forceinline__ void StoreOutputs(const Tile& tile, int token,
                                             const float (&o)[16]) {
  const LinearAttention& op = tile.op;
  const int first = static_cast<int>(threadIdx.x) % 4 * 2;
  float* const to =
      op.out +
      ((tile.first_row + token) * op.heads + tile.head) * op.value_dim +
      tile.first_column + first;
  const int left = op.value_dim - tile.first_column - first;
  if (MovesFours(op.out, op.value_dim, op.value_dim)) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      if (8 * j >= left) continue;
      *reinterpret_cast<float2*>(to + 8 * j) =
          make_float2(o[2 * j], o[2 * j + 1]);
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    const int column = 8 * (i / 2) + i % 2;
    if (column < left) to[column] = o[i];
  }
}

// o = l^(t+1) S^T q_t + sum_{s<=t} scores[t][s] w_s of 16 tokens, by one warp.
// Leaves o in op.out and its squares' sums over the tile in `squares`.
__device__ __forceinline__ void WriteRowTile(const Tile& tile,
                                             const TileMemory& memory,
                                             const TileExponents& exponents,
                                             bool zero, int first_token,
                                             float (&squares)[2]) {
  const FragmentLane lane;
  const int64_t place = tile.place + first_token;
  const int own[2] = {first_token + lane.row, first_token + lane.row + 8};
  const float4* const scales = tile.scratch.scales + tile.place;
  const __half* from = tile.scratch.queries + place * 2 * kTileKeys;
  WarpSums<8> sums;
  if (!zero) {
    const SplitPlanes state = memory.Buffer(0);
    LeftHalves queries = LoadFragment(from);
#pragma unroll 1
    for (int key = 0; key < kTileKeys; key += 16) {
      if (key + 16 < kTileKeys) from += kFragmentHalves;
      const LeftHalves next = LoadFragment(from);
      AddProducts<8>(queries, RowTerms{state, key, 0}, &sums);
      queries = next;
    }
    // In the scores' and values' units, to go on with.
    const float unit = PowerOfTwo(exponents.state - exponents.values);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = min(own[i / 2], tile.count - 1);
      const float factor = memory.powers[token + 1] * (scales[token].x * unit);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        sums.large[j][i] = factor * sums.At(j, i);
        sums.small[j][i] = 0.0f;
      }
    }
  }
  from = tile.scratch.scores + place * 2 * kGroupTokens;
  LeftHalves scores = LoadFragment(from);
#pragma unroll 1
  for (int token = 0; token <= first_token; token += 16) {
    // The next ones are under way during the products.
    if (token < first_token) from += kFragmentHalves;
    const LeftHalves next = LoadFragment(from);
    AddProducts<8>(scores, RowTerms{memory.values, token, 0}, &sums);
    scores = next;
  }
  const float unit = PowerOfTwo(exponents.values - kHalfExponent);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int token = min(own[half], tile.count - 1);
    const float scale = scales[token].y;
    float o[16];
    float sum = 0;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      o[i] = sums.At(i / 2, 2 * half + i % 2) * scale * unit;
      sum = fmaf(o[i], o[i], sum);
    }
    sum += __shfl_xor_sync(kWholeWarp, sum, 1);
    squares[half] = sum + __shfl_xor_sync(kWholeWarp, sum, 2);
    if (own[half] < tile.count) StoreOutputs(tile, token, o);
  }
}

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

// Norms and gates a thread's four columns of every 16th row; squares has the
// rows' scales now.
template <bool kAligned>
__device__ __forceinline__ void GateRows(const Tile& tile,
                                         const TileMemory& memory, int over_all,
                                         int left) {
  const LinearAttention& op = tile.op;
  const float4 weight = LoadFour(op.norm_weight + over_all, left, false);
  constexpr int kAtOnce = 8;
#pragma unroll 1
  for (int first = static_cast<int>(threadIdx.x) / 16; first < tile.count;
       first += kAtOnce * kRoundRows) {
    float4 o[kAtOnce];
    float4 reset[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int token = first + i * kRoundRows;
      const int there = token < tile.count ? left : 0;
      const int64_t row = tile.first_row + token;
      o[i] = LoadFour(op.out + row * op.heads * op.value_dim + over_all, there,
                      kAligned);
      reset[i] = LoadFour(op.reset.data + row * op.reset.stride + over_all,
                          there, kAligned);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int token = first + i * kRoundRows;
      const float scale = memory.squares[token];
      const auto gate = [scale](float o, float reset, float norm_weight) {
        return SiluOfMany(reset) * (o * scale * norm_weight);
      };
      StoreFour(op.out + (tile.first_row + token) * op.heads * op.value_dim +
                    over_all,
                token < tile.count ? left : 0, kAligned,
                make_float4(gate(o[i].x, reset[i].x, weight.x),
                            gate(o[i].y, reset[i].y, weight.y),
                            gate(o[i].z, reset[i].z, weight.z),
                            gate(o[i].w, reset[i].w, weight.w)));
    }
  }
}

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
  if (aligned && aligned_reset) {
    GateRows<true>(tile, memory, over_all, left);
  } else {
    GateRows<false>(tile, memory, over_all, left);
  }
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ATTENTION_GROUP_OUTPUTS_CUH_
