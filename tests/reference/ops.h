#ifndef CHELA_TESTS_REFERENCE_OPS_H_
#define CHELA_TESTS_REFERENCE_OPS_H_

#include <cstdint>
#include <vector>

#include "kernels/feed_forward.h"
#include "kernels/norm.h"
#include "tests/reference/matrix.h"
#include "tests/reference/real.h"

// The ops of a layer, one row at a time, as their headers in kernels/ define
// them. Row-major vectors; the widths follow from the arguments.
namespace chela::reference {

struct NormWeights {
  NormKind kind = NormKind::kRms;
  float eps = 1e-5f;
  std::vector<float> weight;
  std::vector<float> bias;  // empty for kRms
};

std::vector<Real> Exact(const std::vector<float>& x);
std::vector<Real> Normalize(const NormWeights& norm,
                            const std::vector<Real>& x);

std::vector<Real> Linear(const std::vector<float>& x, const Matrix& weight,
                         const std::vector<float>& bias);

std::vector<Real> GatedOutput(const std::vector<float>& x, const Matrix& weight,
                              const std::vector<float>& candidate,
                              const std::vector<float>& gate,
                              const std::vector<float>& residual);

std::vector<Real> FeedForward(FeedForwardKind kind, const std::vector<float>& y,
                              const NormWeights& norm, const Matrix& up,
                              const Matrix& down);

std::vector<Real> LogitsHead(const std::vector<float>& x,
                             const NormWeights& norm, const Matrix& weight);

// A whole sequence x [tokens][width] at once, weight [taps][width].
struct ShortConvolutionResult {
  std::vector<std::vector<Real>> u;
  std::vector<std::vector<Real>> a;
};
ShortConvolutionResult ShortConvolution(
    const std::vector<std::vector<float>>& x, const NormWeights& norm,
    const std::vector<std::vector<float>>& weight,
    const std::vector<float>& bias);

}  // namespace chela::reference

#endif  // CHELA_TESTS_REFERENCE_OPS_H_
