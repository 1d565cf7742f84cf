// Tokens from logits.
#include <cfloat>
#include <cmath>

#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/draw.h"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / 32;

__device__ __forceinline__ float Usable(float logit) {
  if (isnan(logit)) return -INFINITY;
  return fminf(logit, FLT_MAX);
}

// The larger logit, of equal ones the lower id.
struct Best {
  float logit = -INFINITY;
  int id = 0x7fffffff;
  __device__ __forceinline__ void Take(float other, int other_id) {
    if (other > logit || (other == logit && other_id < id)) {
      logit = other;
      id = other_id;
    }
  }
};

__device__ Best BlockBest(Best mine, Best* shared) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const float logit = __shfl_xor_sync(kWholeWarp, mine.logit, offset);
    const int id = __shfl_xor_sync(kWholeWarp, mine.id, offset);
    mine.Take(logit, id);
  }
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = mine;
  __syncthreads();
  mine = shared[threadIdx.x % 32];
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const float logit = __shfl_xor_sync(kWholeWarp, mine.logit, offset);
    const int id = __shfl_xor_sync(kWholeWarp, mine.id, offset);
    mine.Take(logit, id);
  }
  return mine;
}

// A block draws one row's token. Thread t has the ids [t n, (t + 1) n): the sum
// of their weights, the sum of all threads before, and whoever's part holds the
// random number walks through it.
__global__ void __launch_bounds__(kThreads)
    DrawTokens(const __grid_constant__ DrawRows op) {
  __shared__ Best best_of[kWarps];
  __shared__ double warp_sums[kWarps];
  __shared__ double ends[kThreads];  // the sum up to and with a thread's ids
  __shared__ int first;              // thread whose part passes the target
  LetLaterStart();
  WaitForEarlier();
  const int row = static_cast<int>(blockIdx.x);
  if (row >= *op.count) return;
  const DrawRule rule = op.rules[row];
  if (rule.temperature < 0) return;
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int part = ((op.vocab + kThreads - 1) / kThreads + 3) / 4 * 4;
  const int begin = min(thread * part, op.vocab);
  const int end = min(begin + part, op.vocab);
  const float* logits = op.logits + int64_t{row} * op.vocab;
  const bool aligned = op.vocab % 4 == 0;

  Best mine;
  if (aligned) {
    for (int i = begin; i < end; i += 4) {
      const float4 four = __ldcg(reinterpret_cast<const float4*>(logits + i));
      mine.Take(Usable(four.x), i);
      mine.Take(Usable(four.y), i + 1);
      mine.Take(Usable(four.z), i + 2);
      mine.Take(Usable(four.w), i + 3);
    }
  } else {
    for (int i = begin; i < end; ++i) mine.Take(Usable(__ldcg(logits + i)), i);
  }
  const Best best = BlockBest(mine, best_of);
  const bool all_banned = best.logit == -INFINITY;
  if (rule.temperature == 0) {
    if (thread == 0) op.tokens[row] = best.id;
    return;
  }

  const auto weight = [&](int i) {
    const float logit = Usable(logits[i]);
    return all_banned ? 1.0f : expf((logit - best.logit) / rule.temperature);
  };
  double sum = 0;
  for (int i = begin; i < end; ++i) sum += weight(i);
  double upto = sum;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const double before = __shfl_up_sync(kWholeWarp, upto, offset);
    if (lane >= offset) upto = before + upto;
  }
  if (lane == 31) warp_sums[thread / 32] = upto;
  __syncthreads();
  double before = 0;
  double total = 0;
  for (int i = 0; i < kWarps; ++i) {
    if (i < thread / 32) before += warp_sums[i];
    total += warp_sums[i];
  }
  ends[thread] = before + upto;
  if (thread == 0) first = kThreads;
  __syncthreads();
  const double target = rule.uniform * total;
  if (ends[thread] > target) atomicMin(&first, thread);
  __syncthreads();
  // Rounding may leave the last sum at or below the target: then the best.
  if (thread == 0 && first == kThreads) op.tokens[row] = best.id;
  if (thread != first) return;
  double reached = thread == 0 ? 0 : ends[thread - 1];
  int token = begin;
  for (int i = begin; i < end; ++i) {
    const float w = weight(i);
    if (w > 0) token = i;
    reached += w;
    if (reached > target) break;
  }
  op.tokens[row] = token;
}

}  // namespace

cudaError_t LaunchDraw(const DrawRows& op, int32_t max_rows, bool overlap,
                       cudaStream_t stream) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(max_rows));
  shape.block = dim3(kThreads);
  shape.overlap = overlap;
  shape.stream = stream;
  return Launch(shape, DrawTokens, op);
}

}  // namespace chela::cuda
