// Queries and keys of the linear attention's half groups of 128 tokens, and
// their products, once for all value columns:
//   scores[t][s] = l^(t-s) q_t . k_s for s <= t, else 0.
#include "kernels/cuda/attention_group.cuh"
#include "kernels/cuda/attention_keys.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

// Queries `row` to row + 15 as a left fragment, their keys from `key` on.
__device__ __forceinline__ LeftHalves LoadQueries(const SplitPlanes& queries,
                                                  int row, int key) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int at = HalfAt(row + lane % 16, key + lane / 16 * 8);
  LeftHalves left;
  LoadMatrices<false>(queries.high + at, left.high);
  LoadMatrices<false>(queries.low + at, left.low);
  return left;
}

// Queries and scales of a warp's rows; `largest` is the keys' exponent there.
__device__ __forceinline__ void WriteRows(const Part& part,
                                          const ScoreMemory& memory, int row,
                                          int largest) {
  const int64_t place = part.place + part.begin + row;
#pragma unroll
  for (int i = 0; i < kTileKeys / 16; ++i) {
    StoreFragment(
        LoadQueries(memory.queries, row, 16 * i),
        part.scratch.queries + place * 2 * kTileKeys + i * kFragmentHalves);
  }
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (lane >= kRowTile || part.begin + row + lane >= part.end) return;
  // Of the queries' sums in units of the scores', and of the scores.
  float4& scales = part.scratch.scales[place + lane];
  scales.x = PowerOfTwo(-7 - largest);
  scales.y = PowerOfTwo(memory.query_exponents[row + lane] + largest - 6);
}

// A warp's scores of 16 rows with 32 tokens from `first` on. Sums of 64
// products of scaled queries and keys are below 2^34; they are brought below
// 2^14 with the largest key of the rows' tokens.
__device__ __forceinline__ void WriteScores(const Part& part,
                                            const ScoreMemory& memory, int row,
                                            int first, int largest) {
  const int thread = static_cast<int>(threadIdx.x) % 32;
  WarpSums<4> sums;
#pragma unroll
  for (int key = 0; key < kTileKeys; key += 16) {
    AddProducts<4>(
        LoadQueries(memory.queries, row, key),
        [&](int pair, bool low, uint32_t(&to)[4]) {
          LoadMatrices<false>(
              (low ? memory.keys.low : memory.keys.high) +
                  HalfAt(first + 16 * pair + thread / 16 * 8 + thread % 8,
                         key + thread / 8 % 2 * 8),
              to);
        },
        &sums);
  }
  const FragmentLane lane;
  const int token = row + lane.row;
  float units[4][2];
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const int s = first + 8 * (j / 2) + 2 * lane.pair + j % 2;
    units[j / 2][j % 2] = PowerOfTwo(memory.key_exponents[s] - largest - 20);
  }
  __half* const to = part.scratch.scores +
                     (part.place + part.begin + row) * 2 * kHalfTokens +
                     first / 16 * kFragmentHalves;
#pragma unroll
  for (int part_of = 0; part_of < 2; ++part_of) {
    LeftHalves scores;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int j = 2 * part_of + i / 2;
      const int half = i % 2;
      float pair[2];
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        const int ago = token + 8 * half - (first + 8 * j + 2 * lane.pair + k);
        pair[k] = ago >= 0 ? memory.powers[ago] *
                                 (sums.At(j, 2 * half + k) * units[j][k])
                           : 0.0f;
      }
      const SplitPair split = Split(pair[0], pair[1]);
      scores.high[i] = split.high;
      scores.low[i] = split.low;
    }
    StoreFragment(scores, to + part_of * kFragmentHalves);
  }
}

// A block owns half a group of one head of one chunk; two warps share 16 rows.
template <FeatureMap kMap>
__global__ void __launch_bounds__(kScoreThreads, 2)
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
  part.begin = static_cast<int>(blockIdx.z) % 2 * kHalfTokens;
  if (group >= span.groups || part.begin >= span.count()) return;
  part.first_row = chunk.first_row + (span.begin - chunk.position);
  part.place = PlaceOf(scratch, static_cast<int>(blockIdx.y), group,
                       part.first_row, part.head);
  part.end = min(span.count(), part.begin + kHalfTokens);
  WritePowers(op.decay == nullptr ? 1.0f : op.decay[part.head], memory.powers);
  __syncthreads();
  Convert<kMap>(part, memory);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int row = warp % 8 * kRowTile;
  if (part.begin + row >= part.end) return;
  const int largest = LargestExponent(memory.key_exponents, 0, row + kRowTile);
  if (warp < 8) WriteRows(part, memory, row, largest);
#pragma unroll 1
  for (int first = warp / 8 * 32; first < row + kRowTile; first += 64) {
    WriteScores(part, memory, row, first, largest);
  }
}

}  // namespace

int64_t ScratchRows(int64_t rows, const ChunkList& chunks) {
  return rows + int64_t{2 * kRowTile} * chunks.count;
}

cudaError_t LaunchScores(const LinearAttention& op, const ChunkScratch& scratch,
                         const ChunkList& chunks, cudaStream_t stream) {
  LaunchShape shape;
  shape.stream = stream;
  shape.grid =
      dim3(static_cast<unsigned>(op.heads), static_cast<unsigned>(chunks.count),
           static_cast<unsigned>(2 * chunks.most_groups));
  shape.block = dim3(kScoreThreads);
  shape.shared_bytes = ScoreMemory::kBytes;
  switch (op.feature_map) {
    case FeatureMap::kElu1:
      return Launch(shape, Scores<FeatureMap::kElu1>, op, scratch,
                    chunks.chunks);
    case FeatureMap::kSilu:
      return Launch(shape, Scores<FeatureMap::kSilu>, op, scratch,
                    chunks.chunks);
    case FeatureMap::kIdentity:
      return Launch(shape, Scores<FeatureMap::kIdentity>, op, scratch,
                    chunks.chunks);
  }
  return cudaErrorInvalidValue;
}

}  // namespace chela::cuda
