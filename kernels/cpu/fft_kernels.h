// The transform of fft.h and the tiles that use it. Included by kernel_set.h.
#ifndef CHELA_KERNELS_CPU_FFT_KERNELS_H_
#define CHELA_KERNELS_CPU_FFT_KERNELS_H_

#include <cstdint>

#include "kernels/cpu/fft_complex.h"
#include "kernels/cpu/kernel_table.h"

namespace chela::CHELA_KERNEL_SET {
namespace {

// Floats (or doubles) from one complex row to the next.
constexpr int64_t kRow = 2 * kGroupChannels;

// A block that stays in the first-level cache while all its stages run.
constexpr int64_t kCachedRows = 64;

inline int64_t TwiddleOffset(int64_t depth, int64_t node) {
  return kTwiddleElements * ((int64_t{1} << depth) - 1 + node);
}

template <typename T>
inline Complex<T> Conjugate(const typename T::Element* p) {
  return {T::Set(p[0]), T::Set(-p[1])};
}

// Splits one block of n rows into four of n/4.
template <typename T>
inline void SplitByFour(typename T::Element* rows, int64_t n,
                        const typename T::Element* twiddles) {
  const int64_t quarter = n / 4 * kRow;
  const auto w1 = Complex<T>::Set(twiddles);
  const auto w2 = Complex<T>::Set(twiddles + 2);
  const auto w3 = Complex<T>::Set(twiddles + 4);
  for (int64_t j = 0; j < quarter; j += kRow) {
    for (int64_t lane = 0; lane < kGroupChannels; lane += T::kWidth) {
      typename T::Element* p = rows + j + lane;
      const auto x0 = Complex<T>::Load(p);
      const auto x1 = Complex<T>::Load(p + quarter) * w1;
      const auto x2 = Complex<T>::Load(p + 2 * quarter) * w2;
      const auto x3 = Complex<T>::Load(p + 3 * quarter) * w3;
      const auto even = x0 + x2;
      const auto even_minus = x0 - x2;
      const auto odd = x1 + x3;
      const auto odd_minus = x1 - x3;
      (even + odd).Store(p);
      (even - odd).Store(p + quarter);
      even_minus.PlusI(odd_minus).Store(p + 2 * quarter);
      even_minus.MinusI(odd_minus).Store(p + 3 * quarter);
    }
  }
}

// The inverse of SplitByFour, four times as large.
template <typename T>
inline void JoinFour(typename T::Element* rows, int64_t n,
                     const typename T::Element* twiddles) {
  const int64_t quarter = n / 4 * kRow;
  const auto w1 = Conjugate<T>(twiddles);
  const auto w2 = Conjugate<T>(twiddles + 2);
  const auto w3 = Conjugate<T>(twiddles + 4);
  for (int64_t j = 0; j < quarter; j += kRow) {
    for (int64_t lane = 0; lane < kGroupChannels; lane += T::kWidth) {
      typename T::Element* p = rows + j + lane;
      const auto u0 = Complex<T>::Load(p);
      const auto u1 = Complex<T>::Load(p + quarter);
      const auto u2 = Complex<T>::Load(p + 2 * quarter);
      const auto u3 = Complex<T>::Load(p + 3 * quarter);
      const auto low = u0 + u1;
      const auto low_minus = u0 - u1;
      const auto high = u2 + u3;
      const auto high_minus = u2 - u3;
      (low + high).Store(p);
      (low_minus.MinusI(high_minus) * w1).Store(p + quarter);
      ((low - high) * w2).Store(p + 2 * quarter);
      (low_minus.PlusI(high_minus) * w3).Store(p + 3 * quarter);
    }
  }
}

// Splits every block of two rows.
template <typename T>
inline void SplitByTwo(typename T::Element* rows, int64_t n,
                       const typename T::Element* twiddles) {
  const int64_t half = n / 2 * kRow;
  const auto w = Complex<T>::Set(twiddles + 2);
  for (int64_t j = 0; j < half; j += kRow) {
    for (int64_t lane = 0; lane < kGroupChannels; lane += T::kWidth) {
      typename T::Element* p = rows + j + lane;
      const auto x0 = Complex<T>::Load(p);
      const auto x1 = Complex<T>::Load(p + half) * w;
      (x0 + x1).Store(p);
      (x0 - x1).Store(p + half);
    }
  }
}

template <typename T>
inline void JoinTwo(typename T::Element* rows, int64_t n,
                    const typename T::Element* twiddles) {
  const int64_t half = n / 2 * kRow;
  const auto w = Conjugate<T>(twiddles + 2);
  for (int64_t j = 0; j < half; j += kRow) {
    for (int64_t lane = 0; lane < kGroupChannels; lane += T::kWidth) {
      typename T::Element* p = rows + j + lane;
      const auto u0 = Complex<T>::Load(p);
      const auto u1 = Complex<T>::Load(p + half);
      (u0 + u1).Store(p);
      ((u0 - u1) * w).Store(p + half);
    }
  }
}

// All stages of the block `node` of `depth`, n rows, breadth first.
template <typename T>
inline void SplitAll(typename T::Element* rows, int64_t n, int64_t depth,
                     int64_t node, const typename T::Element* twiddles) {
  int64_t length = n;
  for (; length >= 4; length /= 4, depth += 2, node *= 4) {
    for (int64_t b = 0; b < n / length; ++b) {
      SplitByFour<T>(rows + b * length * kRow, length,
                     twiddles + TwiddleOffset(depth, node + b));
    }
  }
  if (length < 2) return;
  for (int64_t b = 0; b < n / 2; ++b) {
    SplitByTwo<T>(rows + b * 2 * kRow, 2,
                  twiddles + TwiddleOffset(depth, node + b));
  }
}

template <typename T>
inline void JoinAll(typename T::Element* rows, int64_t n, int64_t depth,
                    int64_t node, const typename T::Element* twiddles) {
  const int64_t depths = __builtin_ctzll(static_cast<uint64_t>(n));
  depth += depths;
  node <<= depths;
  int64_t length = 1;
  if (depths % 2 == 1) {
    length = 2;
    depth -= 1;
    node /= 2;
    for (int64_t b = 0; b < n / 2; ++b) {
      JoinTwo<T>(rows + b * 2 * kRow, 2,
                 twiddles + TwiddleOffset(depth, node + b));
    }
  }
  while (length < n) {
    length *= 4;
    depth -= 2;
    node /= 4;
    for (int64_t b = 0; b < n / length; ++b) {
      JoinFour<T>(rows + b * length * kRow, length,
                  twiddles + TwiddleOffset(depth, node + b));
    }
  }
}

inline void MultiplyBySpectrum(float* rows, const float* spectrum, int64_t n) {
  for (int64_t j = 0; j < n * kRow; j += kRow) {
    for (int64_t lane = 0; lane < kGroupChannels; lane += kLanes) {
      float* p = rows + j + lane;
      (Complex<Float32>::Load(p) * Complex<Float32>::Load(spectrum + j + lane))
          .Store(p);
    }
  }
}

// Transform, product and inverse transform of one block. Depth first, so that
// small blocks do all of it while they are in the cache.
void ConvolveBlock(float* rows, int64_t n, int64_t depth, int64_t node,
                   const float* twiddles, const float* spectrum) {
  if (n <= kCachedRows) {
    SplitAll<Float32>(rows, n, depth, node, twiddles);
    MultiplyBySpectrum(rows, spectrum, n);
    JoinAll<Float32>(rows, n, depth, node, twiddles);
    return;
  }
  const float* own = twiddles + TwiddleOffset(depth, node);
  const int64_t quarter = n / 4;
  SplitByFour<Float32>(rows, n, own);
  for (int64_t q = 0; q < 4; ++q) {
    ConvolveBlock(rows + q * quarter * kRow, quarter, depth + 2, 4 * node + q,
                  twiddles, spectrum + q * quarter * kRow);
  }
  JoinFour<Float32>(rows, n, own);
}

// The first stage, of real inputs: x_lo +- e^(i pi/4) x_hi.
inline void SplitRealRoot(const FftTile& tile) {
  const int64_t half = tile.size / 2;
  const F root = Set(0.70710678118654752f);
  const F minus_root = Set(-0.70710678118654752f);
  for (int64_t j = 0; j < half; ++j) {
    for (int64_t lane = 0; lane < kGroupChannels; lane += kLanes) {
      const float* x = tile.x + j * kGroupChannels + lane;
      const F low = Load(x);
      const F high = Load(x + half * kGroupChannels);
      float* p = tile.work + j * kRow + lane;
      Store(p, Fma(root, high, low));
      Store(p + kGroupChannels, Mul(root, high));
      Store(p + half * kRow, Fma(minus_root, high, low));
      Store(p + half * kRow + kGroupChannels, Mul(minus_root, high));
    }
  }
}

// The last stage, of which only the imaginary part is wanted.
inline void JoinImaginaryRoot(const FftTile& tile) {
  const int64_t half = tile.size / 2;
  const F root = Set(0.70710678118654752f);
  for (int64_t j = 0; j < half; ++j) {
    for (int64_t lane = 0; lane < kGroupChannels; lane += kLanes) {
      const float* p = tile.work + j * kRow + lane;
      const auto u = Complex<Float32>::Load(p);
      const auto v = Complex<Float32>::Load(p + half * kRow);
      F low = Add(u.im, v.im);
      F high = Mul(root, Sub(Sub(u.im, v.im), Sub(u.re, v.re)));
      float* y = tile.y + j * kGroupChannels + lane;
      if (tile.add) {
        low = Add(Load(y), low);
        high = Add(Load(y + half * kGroupChannels), high);
      }
      Store(y, low);
      Store(y + half * kGroupChannels, high);
    }
  }
}

void RunFftTile(const FftTile& tile) {
  const int64_t half = tile.size / 2;
  SplitRealRoot(tile);
  for (int64_t node = 0; node < 2; ++node) {
    ConvolveBlock(tile.work + node * half * kRow, half, 1, node, tile.twiddles,
                  tile.spectrum + node * half * kRow);
  }
  JoinImaginaryRoot(tile);
}

// Splits in the same steps as RunFftTile: by two, then by four.
void RunFftBlock(const FftBlock& block) {
  const int64_t half = block.size / 2;
  SplitByTwo<Float64>(block.rows, block.size, block.twiddles);
  for (int64_t node = 0; node < 2; ++node) {
    SplitAll<Float64>(block.rows + node * half * kRow, half, 1, node,
                      block.twiddles);
  }
}

constexpr void FillFftKernels(CpuKernelTable* table) {
  table->fft_tile = RunFftTile;
  table->fft_block = RunFftBlock;
}

}  // namespace
}  // namespace chela::CHELA_KERNEL_SET

#endif  // CHELA_KERNELS_CPU_FFT_KERNELS_H_
