// phi(q) and phi(k) of half a group of the linear attention, in shared memory.
#ifndef CHELA_KERNELS_CUDA_ATTENTION_KEYS_CUH_
#define CHELA_KERNELS_CUDA_ATTENTION_KEYS_CUH_

#include <cstdint>

#include "kernels/cuda/attention_group.cuh"

namespace chela::cuda {

inline constexpr int kScoreThreads = 512;
inline constexpr int kRoundTokens = kScoreThreads / 16;
inline constexpr int kOwnRounds = kHalfTokens / kRoundTokens;

// A block's shared memory.
struct ScoreMemory {
  __device__ explicit ScoreMemory(void* memory)
      : keys(static_cast<__half*>(memory), kHalfTokens),
        queries(keys.low + kHalfTokens * 64, kHalfTokens),
        powers(reinterpret_cast<float*>(queries.low + kHalfTokens * 64)),
        key_exponents(reinterpret_cast<int*>(powers + kGroupTokens + 1)),
        query_exponents(key_exponents + kHalfTokens) {}
  static constexpr size_t kBytes = 2 * kHalfTokens * 64 * 2 * sizeof(__half) +
                                   (kGroupTokens + 1) * sizeof(float) +
                                   2 * kHalfTokens * sizeof(int);
  SplitPlanes keys;
  SplitPlanes queries;
  float* powers;         // [257]
  int* key_exponents;    // [128], of each token's keys
  int* query_exponents;  // [128]
};

// A block's tokens: those of half a group.
struct Part {
  const LinearAttention& op;
  const ChunkScratch& scratch;
  int head = 0;
  int64_t first_row = 0;  // of the group, in the step
  int64_t place = 0;      // of the group, in the working memory
  int begin = 0;          // of the half, in the group
  int end = 0;
};

// The affine maps of a thread's four keys; those beyond the head are not read.
struct FourKeys {
  AttentionScales scales[4] = {};
  int first = 0;  // in the head
  int left = 0;
  bool aligned = false;

  __device__ explicit FourKeys(const Part& part)
      : first(static_cast<int>(threadIdx.x) % 16 * 4),
        left(part.op.key_dim - first),
        aligned(MovesFours(part.op.shared.data, part.op.key_dim,
                           part.op.shared.stride)) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i >= left) continue;
      scales[i] = LoadScales(part.op, part.head * part.op.key_dim + first + i);
    }
  }
  __device__ __forceinline__ float4 Load(const Part& part, int token) const {
    if (token >= part.end) return make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    return LoadFour(part.op.shared.data +
                        (part.first_row + token) * part.op.shared.stride +
                        int64_t{part.head} * part.op.key_dim + first,
                    left, aligned);
  }
};

struct QueriesAndKeys {
  float4 queries;
  float4 keys;
};
// Feature without a branch.
template <FeatureMap kMap>
__device__ __forceinline__ float FeatureOfMany(float x) {
  if constexpr (kMap == FeatureMap::kElu1) {
    const float power = expf(fminf(x, 0.0f));
    return x > 0.0f ? x + 1.0f : power;
  }
  return kMap == FeatureMap::kSilu ? SiluOfMany(x) : x;
}
template <FeatureMap kMap>
__device__ __forceinline__ QueriesAndKeys Activate(const FourKeys& four,
                                                   bool exists,
                                                   const float4& raw) {
  const float shared[4] = {raw.x, raw.y, raw.z, raw.w};
  float2 both[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const AttentionScales& scales = four.scales[i];
    const float zz = SiluOfMany(shared[i]);
    const float q =
        FeatureOfMany<kMap>(fmaf(scales.q_scale, zz, scales.q_bias));
    const float k =
        FeatureOfMany<kMap>(fmaf(scales.k_scale, zz, scales.k_bias));
    const bool in = exists && i < four.left;
    both[i] = make_float2(in ? q : 0.0f, in ? k : 0.0f);
  }
  return {make_float4(both[0].x, both[1].x, both[2].x, both[3].x),
          make_float4(both[0].y, both[1].y, both[2].y, both[3].y)};
}

// The exponent of a token's 64 keys, which 16 lanes hold.
__device__ __forceinline__ int TokenExponent(const float4& x) {
  uint32_t largest = LargestBits(x);
#pragma unroll
  for (int offset = 8; offset > 0; offset /= 2) {
    largest = max(largest, __shfl_xor_sync(kWholeWarp, largest, offset));
  }
  return ExponentOf(largest);
}

__device__ __forceinline__ void StoreToken(const SplitPlanes& planes,
                                           int* exponents, int row, int column,
                                           const float4& x) {
  const int exponent = TokenExponent(x);
  planes.Store(row, column, x, PowerOfTwo(kHalfExponent - exponent));
  if (column == 0) exponents[row] = exponent;
}

// The largest exponent of tokens [begin, end), the same in every lane.
__device__ __forceinline__ int LargestExponent(const int* exponents, int begin,
                                               int end) {
  int largest = -40;
  for (int i = begin + static_cast<int>(threadIdx.x) % 32; i < end; i += 32) {
    largest = max(largest, exponents[i]);
  }
  return __reduce_max_sync(kWholeWarp, largest);
}

// Keys as the state's sums take them: l^(n-1-s) k_s, s counted in the 64 tokens
// of a piece that has n, with one scale for the piece.
__device__ __forceinline__ void WriteKeys(const Part& part,
                                          const ScoreMemory& memory, int row,
                                          int column, const float4& keys) {
  const int rows = part.end - part.begin;
  const int piece = row / kPieceTokens * kPieceTokens;
  const int piece_end = min(rows, piece + kPieceTokens);
  const int exponent = LargestExponent(memory.key_exponents, piece, piece_end);
  if (row >= rows) return;
  const float decay = memory.powers[piece_end - 1 - row];
  const float scale = PowerOfTwo(kHalfExponent - exponent);
  const SplitPair first = Split(decay * keys.x * scale, decay * keys.y * scale);
  const SplitPair second =
      Split(decay * keys.z * scale, decay * keys.w * scale);
  const int64_t at = part.place + part.begin + row;
  __half* const to = part.scratch.keys + at * 128 + column;
  *reinterpret_cast<uint2*>(to) = make_uint2(first.high, second.high);
  *reinterpret_cast<uint2*>(to + 64) = make_uint2(first.low, second.low);
  if (column == 0) {
    part.scratch.scales[at].z = PowerOfTwo(exponent - kHalfExponent);
  }
}

// Fills the block's shared memory, and the step's keys.
template <FeatureMap kMap>
__device__ __forceinline__ void Convert(const Part& part,
                                        const ScoreMemory& memory) {
  const FourKeys four(part);
  const int in_round = static_cast<int>(threadIdx.x) / 16;
  float4 own[kOwnRounds];
#pragma unroll
  for (int round = 0; round < kOwnRounds; ++round) {
    own[round] = four.Load(part, part.begin + round * kRoundTokens + in_round);
  }
#pragma unroll
  for (int round = 0; round < kOwnRounds; ++round) {
    const int row = round * kRoundTokens + in_round;
    const QueriesAndKeys both =
        Activate<kMap>(four, part.begin + row < part.end, own[round]);
    StoreToken(memory.keys, memory.key_exponents, row, four.first, both.keys);
    StoreToken(memory.queries, memory.query_exponents, row, four.first,
               both.queries);
    own[round] = both.keys;
  }
  __syncthreads();
#pragma unroll
  for (int round = 0; round < kOwnRounds; ++round) {
    WriteKeys(part, memory, round * kRoundTokens + in_round, four.first,
              own[round]);
  }
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ATTENTION_KEYS_CUH_
