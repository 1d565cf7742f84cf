#ifndef CHELA_MODELS_LOGIT_PASSES_H_
#define CHELA_MODELS_LOGIT_PASSES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace chela {

// The passes over a whole vocabulary that sampling and scoring are made of.
//
// Each is compiled for several instruction sets and the best that the processor
// has is taken; the bits are the same on all of them, since every sum runs down
// 16 lanes that do not depend on the vector's width and nothing is fused. Pure;
// thread-safe.

// Sums are kept for each block of this many values, so that a running sum can
// be searched block by block.
inline constexpr size_t kLogitBlock = 64;
inline constexpr size_t LogitBlocks(size_t size) {
  return (size + kLogitBlock - 1) / kLogitBlock;
}

// The largest value; -inf if there is none. NaN counts as absent.
float MaxLogit(std::span<const float> values);
// maxima[i] = the largest value of block i of `block` values, a multiple of 16.
void BlockMaxima(std::span<const float> values, size_t block, float* maxima);

// weights[i] = e^((logits[i] - max) * factor), for max >= every logit and
// factor >= 0, both finite. Within 2 units in the last place of the exponential
// of the rounded exponent; exponents below -87 and NaN give 0. block_sums
// [LogitBlocks(size)] are of the weights, in double. The sum of block_sums, in
// order. `weights` may be null.
double ExpWeights(std::span<const float> logits, float max, float factor,
                  float* weights, double* block_sums);
// The block sums of given weights, as ExpWeights adds them up; their sum.
double SumBlocks(std::span<const float> weights, double* block_sums);

// The sum of the values that are at least `cut`.
double SumAtLeast(std::span<const float> values, float cut);
// Writes the indices of the values that are at least `cut`, ascending, into
// `indices` (room for all of them); how many there are.
size_t FindAtLeast(std::span<const float> values, float cut, int32_t* indices);

// The instruction sets that this processor can run, worst first, and the same
// passes with one of them: for tests of their equality.
struct LogitPasses {
  const char* name;
  float (*max)(const float* values, size_t size);
  void (*block_maxima)(const float* values, size_t size, size_t block,
                       float* maxima);
  double (*exp_weights)(const float* logits, size_t size, float max,
                        float factor, float* weights, double* block_sums);
  double (*sum_blocks)(const float* weights, size_t size, double* block_sums);
  double (*sum_at_least)(const float* values, size_t size, float cut);
  size_t (*find_at_least)(const float* values, size_t size, float cut,
                          int32_t* indices);
};
std::vector<LogitPasses> UsableLogitPasses();

}  // namespace chela

#endif  // CHELA_MODELS_LOGIT_PASSES_H_
