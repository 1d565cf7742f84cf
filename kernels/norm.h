#ifndef CHELA_KERNELS_NORM_H_
#define CHELA_KERNELS_NORM_H_

namespace chela {

enum class NormKind { kRms, kLayer };

// A normalisation of each row of x [rows, width], fused into the op that
// reads the result:
//   kRms:   x / sqrt(mean(x^2) + eps) . weight
//   kLayer: (x - mean(x)) / sqrt(var(x) + eps) . weight + bias, biased variance
struct Norm {
  NormKind kind = NormKind::kRms;
  float eps = 1e-5f;
  const float* weight = nullptr;  // [width]
  const float* bias = nullptr;    // [width] for kLayer, null for kRms
};

}  // namespace chela

#endif  // CHELA_KERNELS_NORM_H_
