// One block of 64 tokens of the linear attention, in shared memory.
#ifndef CHELA_KERNELS_CUDA_ATTENTION_BLOCK_CUH_
#define CHELA_KERNELS_CUDA_ATTENTION_BLOCK_CUH_

#include <cstdint>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_math.cuh"
#include "kernels/cuda/tensor_float.cuh"

namespace chela::cuda {

inline constexpr int kBlockTokens = 64;
inline constexpr int kBlocksThreads = 128;
// Groups of four floats that a thread moves of a block's queries, keys, values.
inline constexpr int kRounds = kBlockTokens * kTileKeys / 4 / kBlocksThreads;
// Floats from one row to the next in shared memory: 8 and 4 mod 32 keep the
// fragments' loads free of bank conflicts.
inline constexpr int kTokenStride = 72;  // of queries, keys and values
inline constexpr int kStateStride = 68;
inline constexpr int kQueries = 0;
inline constexpr int kKeys = kQueries + kBlockTokens * kTokenStride;
inline constexpr int kValues = kKeys + kBlockTokens * kTokenStride;
inline constexpr int kState = kValues + kBlockTokens * kTokenStride;
inline constexpr int kPowers = kState + kTileKeys * kStateStride;
inline constexpr int kFloats = kPowers + kBlockTokens + 1;

// What a block of threads works on: 64 value columns of a head.
struct Tile {
  const LinearAttention& op;
  const ChunkScratch& scratch;
  int head = 0;
  int first_column = 0;
  bool aligned_values = false;

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

// Starts the copies of a block's queries or keys into shared memory.
__device__ __forceinline__ void StartTokens(const float* from, int heads,
                                            int count, float* to) {
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const int i = round * kBlocksThreads + static_cast<int>(threadIdx.x);
    const int token = i / 16;
    const int four = i % 16 * 4;
    const bool exists = token < count;  // else zeros
    const float* const source =
        from + (exists ? int64_t{token} * heads * kTileKeys + four : 0);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                     static_cast<uint32_t>(__cvta_generic_to_shared(
                         to + token * kTokenStride + four))),
                 "l"(source), "r"(exists ? 16 : 0)
                 : "memory");
  }
}
__device__ __forceinline__ void WaitForTokens() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

// A thread's raw values of a block; missing ones are 0.
struct RawValues {
  float4 four[kRounds];
};
__device__ __forceinline__ RawValues LoadValues(const Tile& tile,
                                                int64_t first_row, int count) {
  const LinearAttention& op = tile.op;
  const float* from = op.value.data + first_row * op.value.stride +
                      int64_t{tile.head} * op.value_dim + tile.first_column;
  RawValues values;
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const int i = round * kBlocksThreads + static_cast<int>(threadIdx.x);
    const int token = i / 16;
    const int four = i % 16 * 4;
    const int left =
        token < count ? op.value_dim - tile.first_column - four : 0;
    const float* const row = from + int64_t{token} * op.value.stride + four;
    float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (tile.aligned_values) {
      if (left > 0) x = *reinterpret_cast<const float4*>(row);
    } else {
      if (left > 0) x.x = row[0];
      if (left > 1) x.y = row[1];
      if (left > 2) x.z = row[2];
      if (left > 3) x.w = row[3];
    }
    values.four[round] = x;
  }
  return values;
}
__device__ __forceinline__ void StoreValues(const RawValues& values,
                                            float* to) {
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const int i = round * kBlocksThreads + static_cast<int>(threadIdx.x);
    const float4 x = values.four[round];
    *reinterpret_cast<float4*>(to + i / 16 * kTokenStride + i % 16 * 4) =
        make_float4(Silu(x.x), Silu(x.y), Silu(x.z), Silu(x.w));
  }
}

// Values of this lane's left fragment of the queries: 16 tokens from `token`
// on, the terms being keys. Terms 2 pair and 2 pair + 1 stand for a fragment's
// pair and pair + 4, here and in what it is multiplied with.
__device__ __forceinline__ float QueryOf(const float* memory,
                                         const FragmentLane& lane, int token,
                                         int key, int i) {
  return memory[kQueries + (token + i % 2 * 8) * kTokenStride + key +
                2 * lane.pair + i / 2];
}

// scores[t][s] = l^(t-s) q_t . k_s for s <= t, else 0, of the tokens `token`
// and token + 8. Only the first `causal` fragments of 8 tokens hold more than
// 0.
__device__ __forceinline__ void Score(const float* memory, int token,
                                      int causal, float (&scores)[8][4]) {
  const FragmentLane lane;
  WarpSums sums;
#pragma unroll 2
  for (int key = 0; key < kTileKeys; key += 8) {
    AddProducts([&](int i) { return QueryOf(memory, lane, token, key, i); },
                [&](int j, int i) {
                  return memory[kKeys + (8 * j + lane.row) * kTokenStride +
                                key + 2 * lane.pair + i];
                },
                causal, &sums);
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int ago = token + i / 2 * 8 - (8 * j + 2 * lane.pair + i % 2);
      scores[j][i] = ago >= 0 ? memory[kPowers + ago] * sums.At(j, i) : 0.0f;
    }
  }
}

// out = scores times values.
__device__ __forceinline__ void AddSeen(const float* memory, int causal,
                                        const float (&scores)[8][4],
                                        float (&out)[8][4]) {
  const FragmentLane lane;
  WarpSums sums;
#pragma unroll
  for (int s = 0; s < 8; ++s) {
    if (s >= causal) continue;
    AddProducts(
        [&](int i) { return scores[s][i % 2 * 2 + i / 2]; },
        [&](int j, int i) {
          return memory[kValues + (8 * s + 2 * lane.pair + i) * kTokenStride +
                        8 * j + lane.row];
        },
        8, &sums);
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[j][i] = sums.At(j, i);
  }
}

// The outputs of 16 tokens of a block by one warp.
__device__ __forceinline__ void WriteOutputs(const Tile& tile,
                                             const float* memory,
                                             int64_t first_row, int count) {
  const FragmentLane lane;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int token = warp * 16 + lane.row;
  const int causal = 2 * warp + 2;
  float scores[8][4];
  Score(memory, token, causal, scores);
  float out[8][4];
  AddSeen(memory, causal, scores, out);
  WarpSums sums;
#pragma unroll 2
  for (int key = 0; key < kTileKeys; key += 8) {
    AddProducts(
        [&](int i) { return QueryOf(memory, lane, token, key, i); },
        [&](int j, int i) {
          return memory[kState + (key + 2 * lane.pair + i) * kStateStride +
                        8 * j + lane.row];
        },
        8, &sums);
  }
  const LinearAttention& op = tile.op;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int own = token + 8 * half;
    if (own >= count) continue;
    float* const to =
        op.out + ((first_row + own) * op.heads + tile.head) * op.value_dim +
        tile.first_column;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int column = 8 * j + 2 * lane.pair + i;
        if (tile.first_column + column >= op.value_dim) continue;
        to[column] = fmaf(memory[kPowers + own + 1], sums.At(j, 2 * half + i),
                          out[j][2 * half + i]);
      }
    }
  }
}

// local = l^n local + sum_s l^(n-1-s) k_s w_s^T for a warp's 16 keys.
__device__ __forceinline__ void AddTokens(const float* memory, int count,
                                          float (&local)[8][4]) {
  const FragmentLane lane;
  const int key = static_cast<int>(threadIdx.x) / 32 * 16 + lane.row;
  const float* const powers = memory + kPowers;
  WarpSums sums;
#pragma unroll 2
  for (int first = 0; first < kBlockTokens; first += 8) {
    AddProducts(
        [&](int i) {
          const int token = first + lane.pair + i / 2 * 4;
          return token < count ? powers[count - 1 - token] *
                                     memory[kKeys + token * kTokenStride + key +
                                            i % 2 * 8]
                               : 0.0f;
        },
        [&](int j, int i) {
          return memory[kValues + (first + lane.pair + 4 * i) * kTokenStride +
                        8 * j + lane.row];
        },
        8, &sums);
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      local[j][i] = fmaf(powers[count], local[j][i], sums.At(j, i));
    }
  }
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ATTENTION_BLOCK_CUH_
