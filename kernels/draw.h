#ifndef CHELA_KERNELS_DRAW_H_
#define CHELA_KERNELS_DRAW_H_

#include <cstdint>
#include <span>

namespace chela {

struct TokenBias {
  int32_t token = 0;
  float bias = 0;  // added to its logit; -inf bans the token
};

// How often a token stands in a text so far.
struct TokenCount {
  int32_t token = 0;
  int32_t in_prompt = 0;
  int32_t generated = 0;
};

// How the token of one row of logits is drawn: what docs/sampling.md says, in
// its order, for the rules that stand here. The defaults leave each one off.
struct DrawRule {
  // What the logits are multiplied by: 1 / temperature. +inf, its limit at 0:
  // the most likely token, of equal ones the lowest id. Negative: nobody wants
  // this row's token.
  float inverse_temperature = 1.0f;
  int32_t top_k = 0;              // >= 0; 0: off
  double uniform = 0;             // the random number in [0, 1) that decides
  double top_p = 1;               // [0, 1]; 1: off
  double repetition_penalty = 1;  // above 0
  double presence_penalty = 0;
  double frequency_penalty = 0;
  float min_p = 0;  // [0, 1]; 0: off
  // Its parts of DrawInputs' lists.
  int32_t first_bias = 0;
  int32_t num_biases = 0;
  int32_t first_count = 0;
  int32_t num_counts = 0;
};

// What the draws of a step read, in host memory.
struct DrawInputs {
  std::span<const DrawRule> rules;  // one a row
  // The parts of different rows do not overlap; in each part a token stands
  // once. Ids are in [0, vocab).
  std::span<const TokenBias> biases;
  std::span<const TokenCount> counts;
};

// tokens[i] is drawn from row i of the logits: after the rules, the first
// token, in id order, at which the summed probability exceeds `uniform`. NaN
// counts as -inf, +inf as the largest float; if every token has -inf, none has.
//
// Precision: logits after biases and penalties, and weights (draw_weight.h),
// have the bits of the host's sampler. Sums are integers: of weights rounded to
// multiples of 2^(b - 62), where b = ceil(log2(vocab)), so their order does not
// matter. Against exact sums the shares that decide, of the random number and
// of top_p, are off by less than 2^(2b - 62): 2^-32 for 32,768 tokens. A
// backend's token is the host's wherever they lie further from a border.
struct Draw {
  // [num_rows, vocab]. Rows with biases or counts are changed meanwhile, and
  // then as they were.
  float* logits = nullptr;
  int32_t vocab = 0;     // >= 1
  int32_t num_rows = 0;  // 0 does nothing
  DrawInputs inputs;
  int32_t* tokens = nullptr;  // [num_rows], out
};

}  // namespace chela

#endif  // CHELA_KERNELS_DRAW_H_
