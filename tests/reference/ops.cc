#include "tests/reference/ops.h"

namespace chela::reference {

std::vector<Real> Exact(const std::vector<float>& x) {
  return {x.begin(), x.end()};
}

std::vector<Real> Normalize(const NormWeights& norm,
                            const std::vector<Real>& x) {
  const Real width(static_cast<double>(x.size()));
  Real mean(0);
  if (norm.kind == NormKind::kLayer) {
    Sum sum;
    for (const Real& value : x) sum.Add(value);
    mean = sum.Total() / width;
  }
  Sum squares;
  for (const Real& value : x) squares.Add((value - mean) * (value - mean));
  const Real scale =
      Real(1) / Sqrt(squares.Total() / width + Real(double{norm.eps}));
  std::vector<Real> out;
  for (size_t j = 0; j < x.size(); ++j) {
    Real y = (x[j] - mean) * scale * Real(double{norm.weight[j]});
    if (norm.kind == NormKind::kLayer) y = y + Real(double{norm.bias[j]});
    out.push_back(y);
  }
  return out;
}

std::vector<Real> Linear(const std::vector<float>& x, const Matrix& weight,
                         const std::vector<float>& bias) {
  std::vector<Real> out = Multiply(Exact(x), weight);
  for (size_t n = 0; n < out.size(); ++n) out[n] = out[n] + Real(bias[n]);
  return out;
}

std::vector<Real> GatedOutput(const std::vector<float>& x, const Matrix& weight,
                              const std::vector<float>& candidate,
                              const std::vector<float>& gate,
                              const std::vector<float>& residual) {
  std::vector<Real> out = Multiply(Exact(x), weight);
  for (size_t n = 0; n < out.size(); ++n) {
    const Real h = Silu(Real(candidate[n]) + out[n]);
    const Real g = Sigmoid(Real(gate[n]));
    out[n] = g * h + (Real(1) - g) * Real(residual[n]);
  }
  return out;
}

std::vector<Real> FeedForward(FeedForwardKind kind, const std::vector<float>& y,
                              const NormWeights& norm, const Matrix& up,
                              const Matrix& down) {
  const std::vector<Real> sums = Multiply(Normalize(norm, Exact(y)), up);
  std::vector<Real> inner;
  for (int64_t j = 0; j < down.cols; ++j) {
    const auto at = static_cast<size_t>(j);
    Real value = Silu(sums[at]);
    if (kind == FeedForwardKind::kSwiglu) {
      value = value * sums[at + static_cast<size_t>(down.cols)];
    }
    inner.push_back(value);
  }
  std::vector<Real> out = Multiply(inner, down);
  for (size_t n = 0; n < out.size(); ++n) out[n] = Real(y[n]) + out[n];
  return out;
}

std::vector<Real> LogitsHead(const std::vector<float>& x,
                             const NormWeights& norm, const Matrix& weight) {
  return Multiply(Normalize(norm, Exact(x)), weight);
}

ShortConvolutionResult ShortConvolution(
    const std::vector<std::vector<float>>& x, const NormWeights& norm,
    const std::vector<std::vector<float>>& weight,
    const std::vector<float>& bias) {
  ShortConvolutionResult result;
  const size_t taps = weight.size();
  for (size_t t = 0; t < x.size(); ++t) {
    result.u.push_back(Normalize(norm, Exact(x[t])));
    std::vector<Real> a;
    for (size_t j = 0; j < bias.size(); ++j) {
      Sum sum;
      sum.Add(Real(bias[j]));
      for (size_t m = 0; m < taps && m <= t; ++m) {
        sum.Add(Real(weight[taps - 1 - m][j]) * result.u[t - m][j]);
      }
      a.push_back(Silu(sum.Total()));
    }
    result.a.push_back(a);
  }
  return result;
}

}  // namespace chela::reference
