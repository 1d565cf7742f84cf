// Tokens from logits.
#include <cooperative_groups.h>

#include <cfloat>
#include <cmath>

#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/draw.h"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

namespace cg = cooperative_groups;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kCluster = 8;  // blocks of a row; one where there are no clusters

// Ids of a thread, a multiple of four: thread t of block b has the ids
// [(b kThreads + t) n, ...). How they are cut, and so the order of the sums,
// depends on the vocabulary alone.
__host__ __device__ int IdsPerThread(int vocab) {
  const int threads = kCluster * kThreads;
  return ((vocab + threads - 1) / threads + 3) / 4 * 4;
}

__device__ __forceinline__ float Usable(float logit) {
  if (isnan(logit)) return -INFINITY;
  return fminf(logit, FLT_MAX);
}

// The larger logit, of equal ones the lower id.
struct Best {
  float logit;
  int id;
  __device__ __forceinline__ void Take(float other, int other_id) {
    if (other > logit || (other == logit && other_id < id)) {
      logit = other;
      id = other_id;
    }
  }
};

__device__ __forceinline__ Best WarpBest(Best mine) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const float logit = __shfl_xor_sync(kWholeWarp, mine.logit, offset);
    const int id = __shfl_xor_sync(kWholeWarp, mine.id, offset);
    mine.Take(logit, id);
  }
  return mine;
}

// What the blocks of a row tell each other.
struct Shared {
  Best best[kWarps];
  double warp_sums[kWarps];
  Best block_best;
  double block_sum;
  double ends[kThreads];  // the sum up to and with a thread's ids
  int first;              // thread whose part passes the target
};

// `ranks` parts of a row: the blocks of its cluster, or one block that plays
// them all, one after the other.
template <bool kClusters>
class Parts {
 public:
  static __device__ __forceinline__ void Sync() {
#if __CUDA_ARCH__ >= 900
    if constexpr (kClusters) return cg::this_cluster().sync();
#endif
    __syncthreads();
  }
  static __device__ __forceinline__ Shared& Of(Shared* mine, int rank) {
#if __CUDA_ARCH__ >= 900
    if constexpr (kClusters) {
      return *cg::this_cluster().map_shared_rank(mine, rank);
    }
#endif
    return mine[rank];
  }
};

struct Range {
  int begin = 0;
  int end = 0;
};

__device__ Range IdsOf(int vocab, int rank) {
  const int part = IdsPerThread(vocab);
  const int begin =
      min((rank * kThreads + static_cast<int>(threadIdx.x)) * part, vocab);
  return {begin, min(begin + part, vocab)};
}

__device__ void FindBest(const float* logits, int vocab, int rank,
                         Shared& shared) {
  const Range ids = IdsOf(vocab, rank);
  Best mine = {-INFINITY, 0x7fffffff};
  if (vocab % 4 == 0) {
#pragma unroll 4
    for (int i = ids.begin; i < ids.end; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(logits + i);
      mine.Take(Usable(four.x), i);
      mine.Take(Usable(four.y), i + 1);
      mine.Take(Usable(four.z), i + 2);
      mine.Take(Usable(four.w), i + 3);
    }
  } else {
    for (int i = ids.begin; i < ids.end; ++i) mine.Take(Usable(logits[i]), i);
  }
  mine = WarpBest(mine);
  if (threadIdx.x % 32 == 0) shared.best[threadIdx.x / 32] = mine;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int i = 1; i < kWarps; ++i) {
      mine.Take(shared.best[i].logit, shared.best[i].id);
    }
    shared.block_best = mine;
  }
}

// A token's weight, 1 for all of them if all are banned.
struct Weight {
  float max;
  float scale;  // 1 / temperature
  __device__ __forceinline__ float Of(float logit) const {
    return max == -INFINITY ? 1.0f : expf((Usable(logit) - max) * scale);
  }
};

__device__ void SumWeights(const float* logits, int vocab, int rank,
                           const Weight& weight, Shared& shared) {
  const Range ids = IdsOf(vocab, rank);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  double upto = 0;
#pragma unroll 4
  for (int i = ids.begin; i < ids.end; ++i) upto += weight.Of(logits[i]);
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const double before = __shfl_up_sync(kWholeWarp, upto, offset);
    if (lane >= offset) upto = before + upto;
  }
  if (lane == 31) shared.warp_sums[warp] = upto;
  __syncthreads();
  double before = 0;
  for (int i = 0; i < warp; ++i) before += shared.warp_sums[i];
  shared.ends[threadIdx.x] = before + upto;
  if (threadIdx.x == kThreads - 1) shared.block_sum = before + upto;
  if (threadIdx.x == 0) shared.first = kThreads;
}

// Walks through the ids of the thread whose part passes `target`.
__device__ int Walk(const float* logits, const Range& ids, double reached,
                    double target, const Weight& weight) {
  int token = ids.begin;
  for (int i = ids.begin; i < ids.end; ++i) {
    const float w = weight.Of(logits[i]);
    if (w > 0) token = i;
    reached += w;
    if (reached > target) break;
  }
  return token;
}

template <bool kClusters>
__global__ void __launch_bounds__(kThreads)
    DrawTokens(const __grid_constant__ DrawRows op) {
  using Row = Parts<kClusters>;
  constexpr int kOwn = kClusters ? 1 : kCluster;  // parts of this block
  __shared__ Shared shared[kOwn];
  LetLaterStart();
  WaitForEarlier();
  const int row = static_cast<int>(blockIdx.x) / (kClusters ? kCluster : 1);
  const int rank = kClusters ? static_cast<int>(blockIdx.x) % kCluster : 0;
  if (row >= *op.count) return;  // the whole cluster
  const DrawRule rule = op.rules[row];
  if (rule.temperature < 0) return;  // likewise
  const float* logits = op.logits + int64_t{row} * op.vocab;

  for (int i = 0; i < kOwn; ++i) {
    FindBest(logits, op.vocab, rank + i, shared[i]);
  }
  Row::Sync();
  Best best = {-INFINITY, 0x7fffffff};
  for (int i = 0; i < kCluster; ++i) {
    const Best other = Row::Of(shared, i).block_best;
    best.Take(other.logit, other.id);
  }
  if (rule.temperature == 0) {
    if (rank == 0 && threadIdx.x == 0) op.tokens[row] = best.id;
    Row::Sync();  // the others may still read this block's
    return;
  }
  const Weight weight = {best.logit, 1.0f / rule.temperature};
  for (int i = 0; i < kOwn; ++i) {
    SumWeights(logits, op.vocab, rank + i, weight, shared[i]);
  }
  Row::Sync();
  double starts[kCluster + 1] = {};
#pragma unroll
  for (int i = 0; i < kCluster; ++i) {
    starts[i + 1] = starts[i] + Row::Of(shared, i).block_sum;
  }
  const double target = rule.uniform * starts[kCluster];
  // Rounding may leave the last sum at or below the target: then the best.
  if (rank == 0 && threadIdx.x == 0 && !(starts[kCluster] > target)) {
    op.tokens[row] = best.id;
  }
  Row::Sync();
#pragma unroll
  for (int part = 0; part < kCluster; ++part) {
    if (kClusters && part != rank) continue;
    if (!(starts[part] <= target && target < starts[part + 1])) continue;
    Shared& own = shared[kClusters ? 0 : part];
    // The last end is the next part's start, so that one thread is found.
    const bool last = threadIdx.x == kThreads - 1;
    if (last || starts[part] + own.ends[threadIdx.x] > target) {
      atomicMin(&own.first, static_cast<int>(threadIdx.x));
    }
    __syncthreads();
    if (static_cast<int>(threadIdx.x) == own.first) {
      const double before = threadIdx.x == 0 ? 0 : own.ends[threadIdx.x - 1];
      op.tokens[row] = Walk(logits, IdsOf(op.vocab, part),
                            starts[part] + before, target, weight);
    }
  }
}

}  // namespace

cudaError_t LaunchDraw(const DrawRows& op, int32_t max_rows, bool clusters,
                       bool overlap, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid =
      dim3(static_cast<unsigned>(max_rows * (clusters ? kCluster : 1)));
  shape.block = dim3(kThreads);
  shape.cluster = clusters ? kCluster : 1;
  shape.overlap = overlap;
  shape.stream = stream;
  return clusters ? Launch(shape, DrawTokens<true>, op)
                  : Launch(shape, DrawTokens<false>, op);
}

}  // namespace chela::cuda
