#include "tests/support/norms.h"

namespace chela {

reference::NormWeights RandomNorm(NormKind kind, int64_t width) {
  reference::NormWeights norm{kind, 1e-5f, RandomFloats(width, -2, 2, 11), {}};
  if (kind == NormKind::kLayer) norm.bias = RandomFloats(width, -1, 1, 12);
  return norm;
}

NormOn::NormOn(Backend& backend, const reference::NormWeights& from)
    : weight(backend, from.weight), bias(backend, from.bias) {
  norm = {.kind = from.kind, .eps = from.eps, .weight = weight.data()};
  if (from.kind == NormKind::kLayer) norm.bias = bias.data();
}

}  // namespace chela
