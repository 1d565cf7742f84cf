#ifndef CHELA_TESTS_MODELS_SAMPLING_REFERENCE_H_
#define CHELA_TESTS_MODELS_SAMPLING_REFERENCE_H_

#include <cstdint>
#include <vector>

#include "models/sampler.h"

namespace chela::test_support {

// Normal logits of this spread.
std::vector<float> RandomLogits(int vocab, uint32_t seed, float spread = 3);

// What the penalties look at.
struct PastText {
  std::vector<int32_t> prompt;
  std::vector<int32_t> generated;
};

// The probability of each token at draw number `draw`, by the definitions of
// docs/sampling.md: loops and full sorts in double.
std::vector<double> ReferenceDistribution(const SamplingParams& params,
                                          const std::vector<float>& logits,
                                          const PastText& past = {},
                                          int64_t draw = 0);

// How often each token comes up in kDraws draws. Deterministic, as the params
// hold the seed.
inline constexpr int kDraws = 40'000;
std::vector<int> DrawCounts(const SamplingParams& params,
                            const std::vector<float>& logits,
                            const PastText& past = {});

// Chi-square of the counts against the reference; a token without probability
// must not come up at all. The bound is the mean plus 8 standard deviations.
void ExpectReferenceDistribution(const SamplingParams& params,
                                 const std::vector<float>& logits,
                                 const PastText& past = {});

}  // namespace chela::test_support

#endif  // CHELA_TESTS_MODELS_SAMPLING_REFERENCE_H_
