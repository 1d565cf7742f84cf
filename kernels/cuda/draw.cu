// Tokens from logits: the order and the semantics of docs/sampling.md, the
// precision of kernels/draw.h.
#include <cfloat>
#include <cmath>

#include "kernels/cuda/draw.h"
#include "kernels/cuda/draw_search.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/draw_weight.h"

namespace chela::cuda {
namespace {

// Ordered as the logits are: NaN as -inf, +inf as the largest float, -0 as 0.
__device__ __forceinline__ float Usable(float logit) {
  if (isnan(logit)) return -INFINITY;
  return fminf(logit, FLT_MAX) + 0.0f;
}
__device__ __forceinline__ uint32_t KeyOf(float logit) {
  const uint32_t bits = __float_as_uint(Usable(logit));
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float LogitOf(uint32_t key) {
  return __uint_as_float((key >> 31) != 0 ? key & 0x7fffffffu : ~key);
}

template <typename T>
__device__ Best FindBest(DrawShared& shared, const float* logits, int vocab) {
  Best best;
#pragma unroll 8
  for (int i = T::Thread(); i < vocab; i += T::kThreads) {
    best.Take(KeyOf(logits[i]), i);
  }
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const uint32_t key = __shfl_xor_sync(kWholeWarp, best.key, offset);
    const int id = __shfl_xor_sync(kWholeWarp, best.id, offset);
    best.Take(key, id);
  }
  if (threadIdx.x % 32 == 0) shared.warp_best[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int i = 1; i < kDrawWarps; ++i) {
      best.Take(shared.warp_best[i].key, shared.warp_best[i].id);
    }
    shared.block_best = best;
  }
  T::Sync();
  for (int i = 0; i < T::kSize; ++i) {
    const Best other = T::Of(shared, i).block_best;
    best.Take(other.key, other.id);
  }
  return best;
}

// A row as the rules that drop tokens see it.
struct Row {
  const float* logits;
  int vocab;
  float max;
  bool all_banned;  // then all are equal
  float factor;     // 1 / temperature
  float quantum;    // weights are rounded to multiples of 1 / quantum
  float min_weight;
  Border by_logit;   // of top_k
  Border by_weight;  // of top_p

  __device__ __forceinline__ uint32_t LogitKey(int id) const {
    return all_banned ? 0 : KeyOf(logits[id]);
  }
  __device__ __forceinline__ float Weight(int id) const {
    if (all_banned) return 1.0f;
    return DrawWeight((Usable(logits[id]) - max) * factor);
  }
  __device__ __forceinline__ uint64_t Rounded(float weight) const {
    return __float2ull_rn(weight * quantum);
  }
  // What the token weighs after top_k, or after all rules.
  __device__ __forceinline__ uint64_t InTopK(int id) const {
    return by_logit.Keeps(LogitKey(id), id) ? Rounded(Weight(id)) : 0;
  }
  __device__ __forceinline__ uint64_t Kept(int id) const {
    const float weight = Weight(id);
    const bool kept = weight >= min_weight &&
                      by_weight.Keeps(__float_as_uint(weight), id) &&
                      by_logit.Keeps(LogitKey(id), id);
    return kept ? Rounded(weight) : 0;
  }
};

// The largest multiple of the quantum that is not above share * total.
__device__ __forceinline__ uint64_t ShareOf(double share, uint64_t total) {
  const double wanted = share * static_cast<double>(total);
  return min(static_cast<uint64_t>(wanted), total - 1);
}

template <typename T>
__device__ void KeepTopK(DrawShared& shared, int k, Row& row) {
  row.by_logit = FindBorder<T, kTopKTies>(
      shared, row.vocab, static_cast<uint64_t>(k),
      [&](int id) { return row.LogitKey(id); }, [](int) { return uint64_t{1}; },
      [](uint32_t) { return uint64_t{1}; });
}

template <typename T>
__device__ void KeepTopP(DrawShared& shared, double p, Row& row) {
  const auto value = [&](int id) { return row.InTopK(id); };
  const uint64_t total = SumRow<T, kTopPTotal>(shared, row.vocab, value).total;
  // At least p of the total, and the heaviest token in any case.
  const double wanted = ceil(p * static_cast<double>(total));
  const uint64_t goal =
      min(max(static_cast<uint64_t>(wanted), uint64_t{1}), total);
  row.by_weight = FindBorder<T, kTopPTies>(
      shared, row.vocab, goal,
      [&](int id) { return __float_as_uint(row.Weight(id)); }, value,
      [&](uint32_t key) { return row.Rounded(__uint_as_float(key)); });
}

// *token: by the one thread that finds it.
template <typename T>
__device__ void DrawOne(DrawShared& shared, const DrawRule& rule,
                        const float* logits, int vocab, float quantum,
                        int32_t* token) {
  const Best best = FindBest<T>(shared, logits, vocab);
  if (isinf(rule.inverse_temperature)) {
    if (T::Thread() == 0) *token = best.id;
    return;
  }
  Row row = {.logits = logits,
             .vocab = vocab,
             .max = LogitOf(best.key),
             .all_banned = LogitOf(best.key) == -INFINITY,
             .factor = rule.inverse_temperature,
             .quantum = quantum,
             .min_weight = rule.min_p,
             .by_logit = {},
             .by_weight = {}};
  if (rule.top_k > 0 && rule.top_k < vocab) {
    KeepTopK<T>(shared, rule.top_k, row);
  }
  if (rule.top_p < 1) KeepTopP<T>(shared, rule.top_p, row);
  const auto value = [&](int id) { return row.Kept(id); };
  const RowSum sum = SumRow<T, kToken>(shared, vocab, value);
  int id = 0;
  const bool found =
      FindInWarp<T>(vocab, sum, ShareOf(rule.uniform, sum.total), value, &id);
  if (found && threadIdx.x % 32 == 0) *token = id;
}

// The rules that change the logits of single tokens: in place, and what stood
// there goes into the lists. Around the first-level cache, which other blocks'
// writes do not reach.
template <typename T>
__device__ void ChangeLogits(const DrawRule& rule, const DrawRows& op,
                             float* logits) {
  TokenBias* const biases = op.biases + rule.first_bias;
  for (int i = T::Thread(); i < rule.num_biases; i += T::kThreads) {
    float* const logit = logits + biases[i].token;
    const float before = __ldcg(logit);
    __stcg(logit,
           biases[i].bias == -INFINITY ? -INFINITY : before + biases[i].bias);
    biases[i].bias = before;
  }
  if (rule.num_biases > 0) T::Sync();
  TokenCount* const counts = op.counts + rule.first_count;
  for (int i = T::Thread(); i < rule.num_counts; i += T::kThreads) {
    float* const at = logits + counts[i].token;
    const float before = __ldcg(at);
    const double by = rule.repetition_penalty;
    // Each penalty is rounded once, as on the host.
    float logit = before;
    if (by != 1) {
      logit = static_cast<float>(logit > 0 ? logit / by : logit * by);
    }
    if (counts[i].generated > 0) {
      logit = static_cast<float>(double{logit} - rule.presence_penalty);
      logit = static_cast<float>(double{logit} -
                                 rule.frequency_penalty * counts[i].generated);
    }
    __stcg(at, logit);
    counts[i].in_prompt = __float_as_int(before);
  }
  if (rule.num_counts > 0) T::Sync();
}

template <typename T>
__device__ void RestoreLogits(const DrawRule& rule, const DrawRows& op,
                              float* logits) {
  // In the order in which they were changed, backwards.
  const TokenCount* const counts = op.counts + rule.first_count;
  for (int i = T::Thread(); i < rule.num_counts; i += T::kThreads) {
    __stcg(logits + counts[i].token, __int_as_float(counts[i].in_prompt));
  }
  if (rule.num_counts > 0 && rule.num_biases > 0) T::Sync();
  const TokenBias* const biases = op.biases + rule.first_bias;
  for (int i = T::Thread(); i < rule.num_biases; i += T::kThreads) {
    __stcg(logits + biases[i].token, biases[i].bias);
  }
}

// A multiprocessor has room for kBlocks blocks at least. With four, 62 clusters
// fit an H100 at once, and those of 64 rows would take two turns; with six,
// what goes to local memory costs one row 3 us.
constexpr int kFewRows = 48;
template <bool kClusters, int kBlocks>
__global__ void __launch_bounds__(kDrawThreads, kBlocks)
    DrawTokens(const __grid_constant__ DrawRows op, float quantum) {
  using T = Team<kClusters>;
  __shared__ DrawShared shared;
  LetLaterStart();
  WaitForEarlier();
  const int index = T::Row();
  if (index >= *op.count) return;  // the whole cluster
  const DrawRule rule = op.rules[index];
  if (rule.inverse_temperature < 0) return;  // likewise
  float* const logits = op.logits + int64_t{index} * op.vocab;
  ChangeLogits<T>(rule, op, logits);
  DrawOne<T>(shared, rule, logits, op.vocab, quantum, op.tokens + index);
  T::Sync();  // nobody reads the logits or this block's memory any more
  RestoreLogits<T>(rule, op, logits);
}

}  // namespace

cudaError_t LaunchDraw(const DrawRows& op, int32_t max_rows, bool clusters,
                       bool overlap, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid =
      dim3(static_cast<unsigned>(max_rows * (clusters ? kDrawCluster : 1)));
  shape.block = dim3(kDrawThreads);
  shape.cluster = clusters ? kDrawCluster : 1;
  shape.overlap = overlap;
  shape.stream = stream;
  int bits = 0;
  while ((int64_t{1} << bits) < op.vocab) ++bits;
  const float quantum = std::ldexp(1.0f, 62 - bits);
  if (!clusters) return Launch(shape, DrawTokens<false, 4>, op, quantum);
  return max_rows <= kFewRows ? Launch(shape, DrawTokens<true, 4>, op, quantum)
                              : Launch(shape, DrawTokens<true, 6>, op, quantum);
}

}  // namespace chela::cuda
