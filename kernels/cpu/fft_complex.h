// Complex rows of kGroupChannels channels, real parts before imaginary parts,
// in float32 and float64. Included by fft_kernels.h.
#ifndef CHELA_KERNELS_CPU_FFT_COMPLEX_H_
#define CHELA_KERNELS_CPU_FFT_COMPLEX_H_

#include <cstdint>

#include "kernels/cpu/long_convolution_tasks.h"

namespace chela::CHELA_KERNEL_SET {
namespace {

// Vectors of float32 in the set's own width.
struct Float32 {
  using Element = float;
  using Vector = F;
  static constexpr int64_t kWidth = kLanes;
  static Vector Load(const float* p) { return CHELA_KERNEL_SET::Load(p); }
  static void Store(float* p, Vector x) { CHELA_KERNEL_SET::Store(p, x); }
  static Vector Set(float x) { return CHELA_KERNEL_SET::Set(x); }
  static Vector Add(Vector a, Vector b) { return CHELA_KERNEL_SET::Add(a, b); }
  static Vector Sub(Vector a, Vector b) { return CHELA_KERNEL_SET::Sub(a, b); }
  static Vector Mul(Vector a, Vector b) { return CHELA_KERNEL_SET::Mul(a, b); }
  static Vector Fma(Vector a, Vector b, Vector c) {
    return CHELA_KERNEL_SET::Fma(a, b, c);
  }
};

// Pairs of float64, which every processor of the family has; only spectra are
// made with them, once, at load.
struct Float64 {
  using Element = double;
  typedef double Vector __attribute__((vector_size(16)));
  typedef double Unaligned __attribute__((vector_size(16), aligned(8)));
  static constexpr int64_t kWidth = 2;
  static Vector Load(const double* p) {
    return *reinterpret_cast<const Unaligned*>(p);
  }
  static void Store(double* p, Vector x) {
    *reinterpret_cast<Unaligned*>(p) = x;
  }
  static Vector Set(double x) { return Vector{x, x}; }
  static Vector Add(Vector a, Vector b) { return a + b; }
  static Vector Sub(Vector a, Vector b) { return a - b; }
  static Vector Mul(Vector a, Vector b) { return a * b; }
  static Vector Fma(Vector a, Vector b, Vector c) { return a * b + c; }
};

template <typename T>
struct Complex {
  typename T::Vector re;
  typename T::Vector im;

  static inline Complex Load(const typename T::Element* p) {
    return {T::Load(p), T::Load(p + kGroupChannels)};
  }
  static inline Complex Set(const typename T::Element* p) {
    return {T::Set(p[0]), T::Set(p[1])};
  }
  inline void Store(typename T::Element* p) const {
    T::Store(p, re);
    T::Store(p + kGroupChannels, im);
  }
  inline Complex operator+(Complex b) const {
    return {T::Add(re, b.re), T::Add(im, b.im)};
  }
  inline Complex operator-(Complex b) const {
    return {T::Sub(re, b.re), T::Sub(im, b.im)};
  }
  // this + i b and this - i b.
  inline Complex PlusI(Complex b) const {
    return {T::Sub(re, b.im), T::Add(im, b.re)};
  }
  inline Complex MinusI(Complex b) const {
    return {T::Add(re, b.im), T::Sub(im, b.re)};
  }
  inline Complex operator*(Complex b) const {
    const auto zero = T::Set(0);
    const auto minus_im = T::Sub(zero, b.im);
    return {T::Fma(im, minus_im, T::Mul(re, b.re)),
            T::Fma(im, b.re, T::Mul(re, b.im))};
  }
};

}  // namespace
}  // namespace chela::CHELA_KERNEL_SET

#endif  // CHELA_KERNELS_CPU_FFT_COMPLEX_H_
