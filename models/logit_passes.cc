#include "models/logit_passes.h"

#include <limits>

#include "kernels/draw_weight.h"

namespace chela {
namespace {

// The bodies are inlined into one function an instruction set; the loops over
// lanes become vector instructions of its width.
#define CHELA_INLINE [[gnu::always_inline]] inline

constexpr size_t kLanes = 16;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
CHELA_INLINE float MaxBody(const float* values, size_t size) {
  float lanes[kLanes];
  for (float& lane : lanes) lane = -kInfinity;
  size_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      lanes[j] = values[i + j] > lanes[j] ? values[i + j] : lanes[j];
    }
  }
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) {
      lanes[j] = lanes[j + half] > lanes[j] ? lanes[j + half] : lanes[j];
    }
  }
  float max = lanes[0];
  for (; i < size; ++i) max = values[i] > max ? values[i] : max;
  return max;
}

CHELA_INLINE void BlockMaximaBody(const float* values, size_t size,
                                  size_t block, float* maxima) {
  for (size_t begin = 0; begin < size; begin += block) {
    const size_t left = size - begin;
    *maxima++ = MaxBody(values + begin, left < block ? left : block);
  }
}

// Overwrites the lanes.
CHELA_INLINE double SumLanes(double* lanes) {
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

// The sum of at most kLogitBlock weights.
CHELA_INLINE double BlockSum(const float* weights, size_t size) {
  double lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lanes[j] += weights[i + j];
  }
  double sum = SumLanes(lanes);
  for (; i < size; ++i) sum += weights[i];
  return sum;
}

CHELA_INLINE double ExpWeightsBody(const float* logits, size_t size, float max,
                                   float factor, float* weights,
                                   double* block_sums) {
  float own[kLogitBlock];
  double total = 0;
  for (size_t begin = 0; begin < size; begin += kLogitBlock) {
    const float* in = logits + begin;
    float* out = weights != nullptr ? weights + begin : own;
    const size_t left = size - begin;
    if (left >= kLogitBlock) {
      for (size_t j = 0; j < kLogitBlock; ++j) {
        out[j] = DrawWeight((in[j] - max) * factor);
      }
    } else {
      for (size_t j = 0; j < left; ++j)
        out[j] = DrawWeight((in[j] - max) * factor);
    }
    const double sum = BlockSum(out, left < kLogitBlock ? left : kLogitBlock);
    *block_sums++ = sum;
    total += sum;
  }
  return total;
}

CHELA_INLINE double SumBlocksBody(const float* weights, size_t size,
                                  double* block_sums) {
  double total = 0;
  for (size_t begin = 0; begin < size; begin += kLogitBlock) {
    const size_t left = size - begin;
    const double sum =
        BlockSum(weights + begin, left < kLogitBlock ? left : kLogitBlock);
    *block_sums++ = sum;
    total += sum;
  }
  return total;
}

CHELA_INLINE double SumAtLeastBody(const float* values, size_t size,
                                   float cut) {
  double lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      const float kept = values[i + j] >= cut ? values[i + j] : 0.0f;
      lanes[j] += kept;
    }
  }
  double sum = SumLanes(lanes);
  for (; i < size; ++i) sum += values[i] >= cut ? values[i] : 0.0f;
  return sum;
}

CHELA_INLINE size_t FindAtLeastBody(const float* values, size_t size, float cut,
                                    int32_t* indices) {
  size_t count = 0;
  size_t i = 0;
  for (; i + kLogitBlock <= size; i += kLogitBlock) {
    // Most blocks hold none, which is quickly seen.
    int32_t any = 0;
    for (size_t j = 0; j < kLogitBlock; ++j) any |= values[i + j] >= cut;
    if (any == 0) continue;
    for (size_t j = 0; j < kLogitBlock; ++j) {
      indices[count] = static_cast<int32_t>(i + j);
      count += values[i + j] >= cut ? 1 : 0;
    }
  }
  for (; i < size; ++i) {
    indices[count] = static_cast<int32_t>(i);
    count += values[i] >= cut ? 1 : 0;
  }
  return count;
}

// The six functions for one instruction set, which `attribute` names.
#define CHELA_LOGIT_PASSES(set, attribute)                                    \
  namespace set {                                                             \
  attribute float Max(const float* v, size_t n) { return MaxBody(v, n); }     \
  attribute void Maxima(const float* v, size_t n, size_t block, float* out) { \
    BlockMaximaBody(v, n, block, out);                                        \
  }                                                                           \
  attribute double Weights(const float* v, size_t n, float max, float factor, \
                           float* weights, double* sums) {                    \
    return ExpWeightsBody(v, n, max, factor, weights, sums);                  \
  }                                                                           \
  attribute double Blocks(const float* v, size_t n, double* sums) {           \
    return SumBlocksBody(v, n, sums);                                         \
  }                                                                           \
  attribute double SumFrom(const float* v, size_t n, float cut) {             \
    return SumAtLeastBody(v, n, cut);                                         \
  }                                                                           \
  attribute size_t Find(const float* v, size_t n, float cut, int32_t* out) {  \
    return FindAtLeastBody(v, n, cut, out);                                   \
  }                                                                           \
  constexpr LogitPasses kPasses = {#set,   Max,     Maxima, Weights,          \
                                   Blocks, SumFrom, Find};                    \
  }

CHELA_LOGIT_PASSES(generic, )
#if defined(__x86_64__)
CHELA_LOGIT_PASSES(avx2, [[gnu::target("avx2")]])
CHELA_LOGIT_PASSES(avx512, [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,"
                                         "prefer-vector-width=512")]])
#endif

const LogitPasses& Best() {
  static const LogitPasses best = UsableLogitPasses().back();
  return best;
}

}  // namespace

std::vector<LogitPasses> UsableLogitPasses() {
  std::vector<LogitPasses> usable = {generic::kPasses};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) usable.push_back(avx2::kPasses);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    usable.push_back(avx512::kPasses);
  }
#endif
  return usable;
}

float MaxLogit(std::span<const float> values) {
  return Best().max(values.data(), values.size());
}

void BlockMaxima(std::span<const float> values, size_t block, float* maxima) {
  Best().block_maxima(values.data(), values.size(), block, maxima);
}

double ExpWeights(std::span<const float> logits, float max, float factor,
                  float* weights, double* block_sums) {
  return Best().exp_weights(logits.data(), logits.size(), max, factor, weights,
                            block_sums);
}

double SumBlocks(std::span<const float> weights, double* block_sums) {
  return Best().sum_blocks(weights.data(), weights.size(), block_sums);
}

double SumAtLeast(std::span<const float> values, float cut) {
  return Best().sum_at_least(values.data(), values.size(), cut);
}

size_t FindAtLeast(std::span<const float> values, float cut, int32_t* indices) {
  return Best().find_at_least(values.data(), values.size(), cut, indices);
}

}  // namespace chela
