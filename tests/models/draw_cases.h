#ifndef CHELA_TESTS_MODELS_DRAW_CASES_H_
#define CHELA_TESTS_MODELS_DRAW_CASES_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <vector>

#include "models/draw_plan.h"
#include "models/sampler.h"

namespace chela::test_support {

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  template <typename T>
  T Of(std::initializer_list<T> values) {
    return values.begin()[Below(static_cast<int32_t>(values.size()))];
  }
  int32_t Below(int32_t end) {
    return static_cast<int32_t>(engine_() % static_cast<uint32_t>(end));
  }
  float Normal() { return normal_(engine_); }

 private:
  std::mt19937 engine_;
  std::normal_distribution<float> normal_;
};

// A row of logits: smooth, with many equal ones, with special values, or all
// alike.
std::vector<float> RandomRow(int32_t vocab, Random& random);
// All rules that a backend applies, at usual values and at the edges.
SamplingParams RandomParams(int32_t vocab, Random& random);
// After a random prompt and answer.
Sampler RandomSampler(const SamplingParams& params, int32_t vocab,
                      Random& random);

// The definition of a draw once more, by sorting: how near the random number
// and top_p are to where they would decide otherwise, as shares of all weights.
double LeastMargin(std::vector<float> row, int32_t index, const DrawPlan& plan);

}  // namespace chela::test_support

#endif  // CHELA_TESTS_MODELS_DRAW_CASES_H_
