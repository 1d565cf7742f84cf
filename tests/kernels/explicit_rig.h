#ifndef CHELA_TESTS_KERNELS_EXPLICIT_RIG_H_
#define CHELA_TESTS_KERNELS_EXPLICIT_RIG_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "tests/kernels/sequence_rig.h"
#include "tests/reference/explicit_convolution.h"
#include "tests/support/kernel_test.h"

namespace chela {

inline reference::PlainKernel RandomKernel(int32_t width, int64_t length) {
  return {width, length, RandomFloats(width * length, -1, 1, 1),
          RandomFloats(width, -1, 1, 2)};
}

// A backend's copy of a kernel, and sequences of it.
class ExplicitRig : public SequenceRig {
 public:
  ExplicitRig(Backend& backend, const reference::PlainKernel& kernel,
              int32_t slots, int32_t layer = 0)
      : SequenceRig(backend, kernel.width,
                    static_cast<int64_t>(
                        std::bit_ceil(static_cast<uint64_t>(kernel.length))) *
                        kernel.width,
                    slots),
        layer_(layer),
        skip_(backend, kernel.skip) {
    auto made = backend.MakeExplicitKernel(kernel.kernel.data(), kernel.width,
                                           kernel.length);
    EXPECT_TRUE(made.ok()) << made.status();
    if (made.ok()) kernel_ = *std::move(made);
  }

 protected:
  absl::Status Run(const float* a, const StateView& state, float* c) override {
    return backend().Run(ExplicitConvolution{.kernel = kernel_.get(),
                                             .layer = layer_,
                                             .a = a,
                                             .skip = skip_.data(),
                                             .state = state,
                                             .c = c});
  }

 private:
  int32_t layer_;
  Tensor skip_;
  std::unique_ptr<ExplicitKernel> kernel_;
};

inline std::vector<reference::Value> Definition(
    const reference::PlainKernel& kernel, const std::vector<float>& a) {
  std::vector<reference::Value> c;
  const auto tokens = static_cast<int64_t>(a.size()) / kernel.width;
  for (int64_t t = 0; t < tokens; ++t) {
    for (int32_t j = 0; j < kernel.width; ++j) {
      c.push_back(reference::ExplicitOutput(kernel, a, t, j));
    }
  }
  return c;
}

// |got - want| / |want| in the Euclidean norm.
inline double RelativeError(const std::vector<float>& got,
                            const std::vector<reference::Value>& want) {
  double off = 0;
  double size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    off += (got[i] - want[i].value) * (got[i] - want[i].value);
    size += want[i].value * want[i].value;
  }
  return std::sqrt(off / size);
}

// The same between two of ours; NaN only where both have it.
inline double Difference(const std::vector<float>& got,
                         const std::vector<float>& want) {
  double off = 0;
  double size = 0;
  EXPECT_EQ(got.size(), want.size());
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    EXPECT_EQ(std::isnan(got[i]), std::isnan(want[i])) << "element " << i;
    if (std::isnan(got[i]) || std::isnan(want[i])) continue;
    off += (double{got[i]} - want[i]) * (double{got[i]} - want[i]);
    size += double{want[i]} * want[i];
  }
  return std::sqrt(off / size);
}

// What the transforms are held to; the promise of the product is 1e-5.
inline constexpr double kRelativeError = 2e-6;

// Outputs of a sequence by the definition: some rows, one channel each.
struct SampledOutputs {
  std::vector<size_t> places;  // in [tokens, width]
  std::vector<reference::Value> want;
};
inline SampledOutputs SampleDefinition(const reference::PlainKernel& kernel,
                                       const std::vector<float>& a) {
  SampledOutputs out;
  const auto tokens = static_cast<int64_t>(a.size()) / kernel.width;
  for (int64_t t = 0; t < tokens; t += kernel.length / 128 + 3) {
    const int64_t channel = t % kernel.width;
    out.places.push_back(static_cast<size_t>(t * kernel.width + channel));
    out.want.push_back(reference::ExplicitOutput(kernel, a, t, channel));
  }
  return out;
}

// A fresh sequence, cut into chunks of `sizes` in turn, gives them.
inline void ExpectSampled(ExplicitRig& rig, const std::vector<float>& a,
                          const std::vector<int32_t>& sizes,
                          const SampledOutputs& sampled) {
  const auto c = rig.RunSequence(0, a, sizes);
  std::vector<float> got;
  for (const size_t place : sampled.places) got.push_back(c[place]);
  EXPECT_LE(RelativeError(got, sampled.want), kRelativeError);
  rig.ExpectGapsUntouched();
}

class ExplicitConvolutionTest : public KernelTest {
 protected:
  // Rows that were cut into other steps: a chunk of a GPU goes through other
  // sums than decode rows, unless the ring is so short that it has none.
  void ExpectSameRows(const std::vector<float>& got,
                      const std::vector<float>& want, int64_t length) const {
    if (GetParam().options.kind == BackendKind::kCpu || length <= 64) {
      ExpectSameBits(got, want);
      return;
    }
    EXPECT_LE(Difference(got, want), 2 * kRelativeError);
  }
};

}  // namespace chela

#endif  // CHELA_TESTS_KERNELS_EXPLICIT_RIG_H_
