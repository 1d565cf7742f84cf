// Kernels that work on one row: norms, activations, rounding, the short
// convolution. Included by kernel_set.h.
#ifndef CHELA_KERNELS_CPU_ROW_KERNELS_H_
#define CHELA_KERNELS_CPU_ROW_KERNELS_H_

#include <cstdint>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/simd_math.h"

namespace chela::CHELA_KERNEL_SET {
namespace {

// Sums run down each lane and then across the lanes: an order that depends on
// the width alone.
inline float SumOf(const float* x, int64_t width) {
  F sum = Set(0.0f);
  for (int64_t j = 0; j < width; j += kLanes) {
    sum = Add(sum, LoadAt(x + j, width - j));
  }
  return SumLanes(sum);
}

// The sum of (x - mean)^2.
inline float SumOfSquares(const float* x, float mean, int64_t width) {
  F sum = Set(0.0f);
  for (int64_t j = 0; j < width; j += kLanes) {
    const int64_t left = width - j;
    F d = Sub(LoadAt(x + j, left), Set(mean));
    if (left < kLanes) d = KeepPart(d, left);
    sum = Fma(d, d, sum);
  }
  return SumLanes(sum);
}

inline float InverseRoot(float sum, int64_t width, float eps) {
  return 1.0f / __builtin_sqrtf(sum / static_cast<float>(width) + eps);
}

void Normalize(const NormRow& row) {
  const int64_t width = row.width;
  const bool layer = row.bias != nullptr;
  const float mean =
      layer ? SumOf(row.x, width) / static_cast<float>(width) : 0.0f;
  const float scale =
      InverseRoot(SumOfSquares(row.x, mean, width), width, row.eps);
  for (int64_t j = 0; j < width; j += kLanes) {
    const int64_t left = width - j;
    F y = Mul(Sub(LoadAt(row.x + j, left), Set(mean)), Set(scale));
    y = Mul(y, LoadAt(row.weight + j, left));
    if (layer) y = Add(y, LoadAt(row.bias + j, left));
    StoreAt(row.out + j, y, left);
  }
}

void Swiglu(const float* gate, const float* up, int64_t size, float* out) {
  for (int64_t j = 0; j < size; j += kLanes) {
    const int64_t left = size - j;
    StoreAt(out + j, Mul(Silu(LoadAt(gate + j, left)), LoadAt(up + j, left)),
            left);
  }
}

void SiluRow(const float* x, int64_t size, float* out) {
  for (int64_t j = 0; j < size; j += kLanes) {
    StoreAt(out + j, Silu(LoadAt(x + j, size - j)), size - j);
  }
}

void ConvolveRow(const ShortConvolutionRow& row) {
  for (int64_t j = 0; j < row.width; j += kLanes) {
    const int64_t left = row.width - j;
    F sum = LoadAt(row.bias + j, left);
    for (int32_t m = 0; m < row.taps; ++m) {
      if (row.u[m] == nullptr) continue;
      const float* weight = row.weight + (row.taps - 1 - m) * row.width;
      sum = Fma(LoadAt(weight + j, left), LoadAt(row.u[m] + j, left), sum);
    }
    StoreAt(row.a + j, Silu(sum), left);
  }
}

constexpr void FillRowKernels(CpuKernelTable* table) {
  table->normalize = Normalize;
  table->swiglu = Swiglu;
  table->silu = SiluRow;
  table->short_convolution = ConvolveRow;
}

}  // namespace
}  // namespace chela::CHELA_KERNEL_SET

#endif  // CHELA_KERNELS_CPU_ROW_KERNELS_H_
