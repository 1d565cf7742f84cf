// Queries and keys of the linear attention's groups of 256 tokens, and their
// products, once for all value columns:
//   scores[t][s] = l^(t-s) q_t . k_s for s <= t, else 0.
#include "kernels/cuda/attention_group.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kHalfRows = kGroupTokens / 2;  // whose scores a block writes
constexpr int kRoundTokens = kThreads / 16;
constexpr int kOwnRounds = kHalfRows / kRoundTokens;

// A block's shared memory.
struct ScoreMemory {
  __device__ explicit ScoreMemory(void* memory)
      : keys(static_cast<__half*>(memory), kGroupTokens),
        queries(keys.low + kGroupTokens * 64, kHalfRows),
        powers(reinterpret_cast<float*>(queries.low + kHalfRows * 64)),
        key_exponents(reinterpret_cast<int*>(powers + kGroupTokens + 1)),
        query_exponents(key_exponents + kGroupTokens) {}
  static constexpr size_t kBytes =
      (kGroupTokens + kHalfRows) * 64 * 2 * sizeof(__half) +
      (kGroupTokens + 1) * sizeof(float) +
      (kGroupTokens + kHalfRows) * sizeof(int);
  SplitPlanes keys;
  SplitPlanes queries;
  float* powers;         // [257]
  int* key_exponents;    // [256], of each token's keys
  int* query_exponents;  // [128]
};

// A block's tokens: the group's up to the end of its half.
struct Part {
  const LinearAttention& op;
  const ChunkScratch& scratch;
  int head = 0;
  int64_t first_row = 0;  // of the group, in the step
  int count = 0;          // tokens of the group
  int begin = 0;          // of the half, in the group
  int end = 0;

  __device__ int64_t RowAndHead(int token) const {
    return (first_row + token) * op.heads + head;
  }
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
__device__ __forceinline__ QueriesAndKeys Activate(const Part& part,
                                                   const FourKeys& four,
                                                   int token,
                                                   const float4& raw) {
  const float shared[4] = {raw.x, raw.y, raw.z, raw.w};
  float2 both[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    both[i] = i < four.left && token < part.end
                  ? QueryAndKey(part.op, shared[i], four.scales[i])
                  : make_float2(0.0f, 0.0f);
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
                                          const ScoreMemory& memory, int token,
                                          int column, const float4& keys) {
  const int piece = token / kPieceTokens * kPieceTokens;
  const int exponent = LargestExponent(memory.key_exponents, piece,
                                       min(part.end, piece + kPieceTokens));
  if (token >= part.end) return;
  const int last = min(part.count, piece + kPieceTokens) - 1;
  const float decay = memory.powers[last - token];
  const float scale = PowerOfTwo(kHalfExponent - exponent);
  const SplitPair first = Split(decay * keys.x * scale, decay * keys.y * scale);
  const SplitPair second =
      Split(decay * keys.z * scale, decay * keys.w * scale);
  const int64_t at = part.RowAndHead(token);
  __half* const to = part.scratch.keys + at * 128 + column;
  *reinterpret_cast<uint2*>(to) = make_uint2(first.high, second.high);
  *reinterpret_cast<uint2*>(to + 64) = make_uint2(first.low, second.low);
  if (column == 0) {
    part.scratch.scales[at].z = PowerOfTwo(exponent - kHalfExponent);
  }
}

// Fills the block's shared memory, and the step's keys.
__device__ __forceinline__ void Convert(const Part& part,
                                        const ScoreMemory& memory) {
  const FourKeys four(part);
  const int in_round = static_cast<int>(threadIdx.x) / 16;
  float4 own[kOwnRounds];
#pragma unroll
  for (int round = 0; round < kOwnRounds; ++round) {
    own[round] = four.Load(part, part.begin + round * kRoundTokens + in_round);
  }
  float4 next = four.Load(part, in_round);
#pragma unroll 1
  for (int first = 0; first < part.begin; first += kRoundTokens) {
    const float4 raw = next;
    const int token = first + in_round;
    next = four.Load(part, token + kRoundTokens);
    StoreToken(memory.keys, memory.key_exponents, token, four.first,
               Activate(part, four, token, raw).keys);
  }
#pragma unroll
  for (int round = 0; round < kOwnRounds; ++round) {
    const int row = round * kRoundTokens + in_round;
    const int token = part.begin + row;
    const QueriesAndKeys both = Activate(part, four, token, own[round]);
    StoreToken(memory.keys, memory.key_exponents, token, four.first, both.keys);
    StoreToken(memory.queries, memory.query_exponents, row, four.first,
               both.queries);
    own[round] = both.keys;
  }
  __syncthreads();
#pragma unroll
  for (int round = 0; round < kOwnRounds; ++round) {
    WriteKeys(part, memory, part.begin + round * kRoundTokens + in_round,
              four.first, own[round]);
  }
}

// What a warp's 16 rows of queries are multiplied with, 16 keys a fragment.
using QueryFragments = LeftHalves[4];

__device__ __forceinline__ void LoadQueries(const SplitPlanes& queries, int row,
                                            QueryFragments& to) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int at = HalfAt(row + lane % 16, 16 * i + lane / 16 * 8);
    LoadMatrices<false>(queries.high + at, to[i].high);
    LoadMatrices<false>(queries.low + at, to[i].low);
  }
}

// Queries and scales of a warp's rows; `largest` is the keys' exponent there.
__device__ __forceinline__ void WriteRows(const Part& part,
                                          const ScoreMemory& memory, int row,
                                          int largest,
                                          const QueryFragments& queries) {
  const FragmentLane lane;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int own = row + lane.row + 8 * half;
    if (part.begin + own >= part.end) continue;
    const int64_t at = part.RowAndHead(part.begin + own);
    __half* const to = part.scratch.queries + at * 128 + 8 * lane.pair;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const LeftHalves& first = queries[2 * i];
      const LeftHalves& second = queries[2 * i + 1];
      *reinterpret_cast<uint4*>(to + 32 * i) =
          make_uint4(first.high[half], first.high[half + 2], second.high[half],
                     second.high[half + 2]);
      *reinterpret_cast<uint4*>(to + 64 + 32 * i) =
          make_uint4(first.low[half], first.low[half + 2], second.low[half],
                     second.low[half + 2]);
    }
    if (lane.pair == 0) {
      // Of the queries' sums in units of the scores', and of the scores.
      part.scratch.scales[at].x = PowerOfTwo(-7 - largest);
      part.scratch.scales[at].y =
          PowerOfTwo(memory.query_exponents[own] + largest - 6);
    }
  }
}

// A warp's scores of 16 rows with 32 tokens from `first` on. Sums of 64
// products of scaled queries and keys are below 2^34; they are brought below
// 2^14 with the largest key of the rows' tokens.
__device__ __forceinline__ void WriteScores(const Part& part,
                                            const ScoreMemory& memory, int row,
                                            int first, int largest,
                                            const QueryFragments& queries) {
  const int thread = static_cast<int>(threadIdx.x) % 32;
  WarpSums<4> sums;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    AddProducts<4>(
        queries[i],
        [&](int pair, bool low, uint32_t(&to)[4]) {
          LoadMatrices<false>(
              (low ? memory.keys.low : memory.keys.high) +
                  HalfAt(first + 16 * pair + thread / 16 * 8 + thread % 8,
                         16 * i + thread / 8 % 2 * 8),
              to);
        },
        &sums);
  }
  const FragmentLane lane;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int token = part.begin + row + lane.row + 8 * half;
    if (token >= part.end) continue;
    SplitPair scores[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      float pair[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int s = first + 8 * j + 2 * lane.pair + i;
        const float unit = PowerOfTwo(memory.key_exponents[s] - largest - 20);
        pair[i] = s <= token ? memory.powers[token - s] *
                                   (sums.At(j, 2 * half + i) * unit)
                             : 0.0f;
      }
      scores[j] = Split(pair[0], pair[1]);
    }
    __half* const to = part.scratch.scores +
                       part.RowAndHead(token) * 2 * kGroupTokens + first +
                       8 * lane.pair;
    *reinterpret_cast<uint4*>(to) = make_uint4(scores[0].high, scores[1].high,
                                               scores[2].high, scores[3].high);
    *reinterpret_cast<uint4*>(to + kGroupTokens) =
        make_uint4(scores[0].low, scores[1].low, scores[2].low, scores[3].low);
  }
}

// A block owns half a group of one head of one chunk; two warps share 16 rows.
__global__ void __launch_bounds__(kThreads)
    Scores(const __grid_constant__ LinearAttention op,
           const __grid_constant__ ChunkScratch scratch, const Chunk* chunks) {
  extern __shared__ float4 aligned_memory[];
  const ScoreMemory memory(aligned_memory);
  WaitForEarlier();
  LetLaterStart();
  const Chunk chunk = chunks[blockIdx.y];
  const int group = static_cast<int>(blockIdx.z) / 2;
  const GroupSpan span = SpanOf(chunk, group);
  Part part = {op, scratch};
  part.head = static_cast<int>(blockIdx.x);
  part.begin = static_cast<int>(blockIdx.z) % 2 * kHalfRows;
  if (group >= span.groups || part.begin >= span.count()) return;
  part.first_row = chunk.first_row + (span.begin - chunk.position);
  part.count = span.count();
  part.end = min(part.count, part.begin + kHalfRows);
  WritePowers(op.decay == nullptr ? 1.0f : op.decay[part.head], memory.powers);
  __syncthreads();
  Convert(part, memory);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int row = warp % 8 * kRowTile;
  if (part.begin + row >= part.end) return;
  const int largest =
      LargestExponent(memory.key_exponents, 0, part.begin + row + kRowTile);
  QueryFragments queries;
  LoadQueries(memory.queries, row, queries);
  if (warp < 8) WriteRows(part, memory, row, largest, queries);
#pragma unroll 1
  for (int first = warp / 8 * 32; first < part.begin + row + kRowTile;
       first += 64) {
    WriteScores(part, memory, row, first, largest, queries);
  }
}

}  // namespace

cudaError_t LaunchScores(const LinearAttention& op, const ChunkScratch& scratch,
                         const ChunkList& chunks, cudaStream_t stream) {
  LaunchShape shape;
  shape.stream = stream;
  shape.grid =
      dim3(static_cast<unsigned>(op.heads), static_cast<unsigned>(chunks.count),
           static_cast<unsigned>(2 * chunks.most_groups));
  shape.block = dim3(kThreads);
  shape.shared_bytes = ScoreMemory::kBytes;
  return Launch(shape, Scores, op, scratch, chunks.chunks);
}

}  // namespace chela::cuda
