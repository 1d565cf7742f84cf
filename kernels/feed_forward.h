#ifndef CHELA_KERNELS_FEED_FORWARD_H_
#define CHELA_KERNELS_FEED_FORWARD_H_

#include "kernels/matrix.h"
#include "kernels/norm.h"

namespace chela {

enum class FeedForwardKind { kSwiglu, kSilu };

// The second half of a layer, with n = Norm(y):
//   kSwiglu: out = y + (SiLU(n gate^T) . (n up^T)) down^T
//   kSilu:   out = y + SiLU(n up^T) down^T
// `up` holds gate's rows, then up's: [2 f, width] for kSwiglu, [f, width] for
// kSilu. Precision as in Linear: n and the activations are rounded to the
// weights' type before their product.
struct FeedForward {
  FeedForwardKind kind = FeedForwardKind::kSwiglu;
  const float* y = nullptr;  // [rows, width]
  Norm norm;
  const Matrix* up = nullptr;    // [2 f or f, width]
  const Matrix* down = nullptr;  // [width, f]
  float* out = nullptr;          // [rows, width]; may be `y`
};

}  // namespace chela

#endif  // CHELA_KERNELS_FEED_FORWARD_H_
