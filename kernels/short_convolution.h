#ifndef CHELA_KERNELS_SHORT_CONVOLUTION_H_
#define CHELA_KERNELS_SHORT_CONVOLUTION_H_

#include <cstdint>

#include "kernels/norm.h"
#include "kernels/step.h"

namespace chela {

// The first stage of a layer: norm, causal depthwise convolution over `taps`
// tokens, SiLU.
//   u = Norm(x)
//   a_t = SiLU(bias + sum_{m < taps} weight[:, taps-1-m] . u_{t-m})
// Tokens before the sequence's first count as 0. The state is a ring of the
// last taps - 1 rows of u: row (position mod (taps-1)), [taps-1, width]; none
// if taps is 1.
//
// Precision: float32 throughout. Sums run in the fixed order of m, so a row
// has the same bits however the tokens are split into steps.
struct ShortConvolution {
  int32_t width = 0;         // >= 1
  int32_t taps = 0;          // >= 1
  const float* x = nullptr;  // [rows, width]
  Norm norm;
  const float* weight = nullptr;  // [taps, width]: the checkpoint's, transposed
  const float* bias = nullptr;    // [width]
  StateView state;                // [slots][taps-1, width], in/out
  float* u = nullptr;             // [rows, width], out
  float* a = nullptr;             // [rows, width], out
};

}  // namespace chela

#endif  // CHELA_KERNELS_SHORT_CONVOLUTION_H_
