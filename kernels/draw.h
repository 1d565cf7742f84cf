#ifndef CHELA_KERNELS_DRAW_H_
#define CHELA_KERNELS_DRAW_H_

#include <cstdint>

namespace chela {

// How the token of one row of logits is drawn.
struct DrawRule {
  // Divides the logits; 0: the most likely token, of equal ones the lowest id.
  // Negative: nobody wants this row's token (its logits go to the host).
  float temperature = 1.0f;
  // The random number in [0, 1) that decides.
  double uniform = 0;
};

// tokens[i] is drawn from softmax(logits[i] / temperature): the first token, in
// id order, at which the summed probability exceeds `uniform`. NaN counts as
// -inf, +inf as the largest float; if every token has -inf, none has.
//
// Precision: weights exp((logit - max) / temperature) are float32, within 4
// units in the last place; sums are double, in an order that the vocabulary's
// size alone decides. A backend's token is another's wherever the sums leave
// the random number a margin above 1e-5.
struct Draw {
  const float* logits = nullptr;    // [num_rows, vocab]
  int32_t vocab = 0;                // >= 1
  int32_t num_rows = 0;             // 0 does nothing
  const DrawRule* rules = nullptr;  // host, [num_rows]
  int32_t* tokens = nullptr;        // [num_rows], out
};

}  // namespace chela

#endif  // CHELA_KERNELS_DRAW_H_
