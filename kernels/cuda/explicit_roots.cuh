// The roots of unity of the explicit convolution's transforms (the maths of
// kernels/cpu/fft.h).
#ifndef CHELA_KERNELS_CUDA_EXPLICIT_ROOTS_CUH_
#define CHELA_KERNELS_CUDA_EXPLICIT_ROOTS_CUH_

#include <cuda_runtime.h>

namespace chela::cuda {

struct Complex {
  float re = 0;
  float im = 0;
};

// e^(i theta/2) of block `node` of depth `depth` (fft.h). An odd node's is i
// times that of the even one before it, so that only even ones are stored.
__host__ __device__ constexpr int RootIndex(int depth, int node) {
  return depth == 0 ? 0 : (1 << (depth - 1)) + (node >> 1);
}
__device__ __forceinline__ Complex RootOf(const float2* roots, int depth,
                                          int node) {
  const float2 root = __ldg(roots + RootIndex(depth, node));
  return (node & 1) != 0 ? Complex{-root.y, root.x} : Complex{root.x, root.y};
}

// e^(i pi turns) for turns in [0, 1), by the compiler: the series.
__host__ __device__ constexpr Complex UnitRoot(double turns) {
  const double x = turns * 3.14159265358979323846;
  double term = 1;
  double sums[2] = {};
  for (int n = 0; n < 40; ++n) {
    sums[n % 2] += n / 2 % 2 == 0 ? term : -term;
    term *= x / (n + 1);
  }
  return {static_cast<float>(sums[0]), static_cast<float>(sums[1])};
}

// Of block kPart of the 2^kStage blocks of a stage: its number reversed, as a
// share of them. RootOf of depth d and that block is e^(i pi (1/4 / 2^d +
// share)).
template <int kStage, int kPart>
__host__ __device__ constexpr double ReversedShare() {
  double share = 0;
  for (int bit = 0; bit < kStage; ++bit) {
    if ((kPart >> bit & 1) != 0) share += 0.5 / (1 << bit);
  }
  return share;
}

// RootOf of the first pass, whose blocks are the same for all threads.
struct FirstRoots {
  template <int kStage, int kPart>
  __device__ __forceinline__ Complex Get() const {
    constexpr Complex kRoot =
        UnitRoot(0.25 / (1 << kStage) + ReversedShare<kStage, kPart>());
    return {kRoot.re, kRoot.im};
  }
};
// And of a later one, where a unit has one block: the first of each stage,
// from which the others follow, so that few have to be kept.
template <int kCount>
struct BlockRoots {
  Complex first[kCount];
  template <int kStage, int kPart>
  __device__ __forceinline__ Complex Get() const {
    const Complex root = first[kStage];
    if constexpr (kPart == 0) return root;
    if constexpr (kPart % 2 == 1) {
      const Complex even = Get<kStage, kPart - 1>();
      return {-even.im, even.re};
    }
    constexpr Complex kBy = UnitRoot(ReversedShare<kStage, kPart>());
    return {fmaf(kBy.re, root.re, -(kBy.im * root.im)),
            fmaf(kBy.re, root.im, kBy.im * root.re)};
  }
};
// Of block `block` at depth kDone.
template <int kDone, int kCount>
__device__ __forceinline__ BlockRoots<kCount> LoadRoots(const float2* roots,
                                                        int block) {
  BlockRoots<kCount> out;
#pragma unroll
  for (int stage = 0; stage < kCount; ++stage) {
    out.first[stage] = RootOf(roots, kDone + stage, block << stage);
  }
  return out;
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_EXPLICIT_ROOTS_CUH_
