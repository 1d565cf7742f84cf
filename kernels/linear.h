#ifndef CHELA_KERNELS_LINEAR_H_
#define CHELA_KERNELS_LINEAR_H_

#include <cstdint>

#include "kernels/matrix.h"
#include "kernels/norm.h"
#include "kernels/step.h"

namespace chela {

// out = x weight^T + bias, for every row of the step: the stacked projections
// of c and the value projection of u. The stages that read the result apply
// its activations, since each element is read once.
//
// Precision: x is rounded to weight->dtype() (BF16 for I8), sums are float32
// and run along the inputs in one order that depends on the weight's shape
// alone, so a row has the same bits in any batch.
struct Linear {
  const float* x = nullptr;  // [rows, weight->cols()]
  const Matrix* weight = nullptr;
  const float* bias = nullptr;  // [weight->rows()]
  float* out = nullptr;         // [rows, weight->rows()]
};

// The end of the attention half of a layer:
//   h = SiLU(candidate + x_o weight^T),  g = sigmoid(gate)
//   out = g . h + (1 - g) . residual
// `candidate` and `gate` are raw sums, with bias, of the stacked projections.
// Precision as in Linear.
struct GatedOutput {
  const float* x = nullptr;         // r . o, [rows, weight->cols()]
  const Matrix* weight = nullptr;   // out_proj [width, value_dim]
  RowView candidate;                // [rows, width]
  RowView gate;                     // [rows, width]
  const float* residual = nullptr;  // [rows, width]
  float* out = nullptr;             // [rows, width]; may be `residual`
};

// logits[i] = Norm(x[rows[i]]) weight^T. Precision as in Linear; logits are
// float32.
struct LogitsHead {
  const float* x = nullptr;  // [rows of the step, width]
  Norm norm;
  const Matrix* weight = nullptr;  // [vocab, width]
  const int32_t* rows = nullptr;   // host, [num_rows], each a row of the step
  int32_t num_rows = 0;            // 0 does nothing
  float* logits = nullptr;         // [num_rows, vocab]
};

}  // namespace chela

#endif  // CHELA_KERNELS_LINEAR_H_
