#ifndef CHELA_KERNELS_CPU_LONG_CONVOLUTION_TASKS_H_
#define CHELA_KERNELS_CPU_LONG_CONVOLUTION_TASKS_H_

#include <cstdint>

#include "kernels/explicit_layout.h"

namespace chela {

// The tokens of one segment through a HierarchicalConvolution, for a range of
// channels. Pointers are to the first channel of the range.
struct HierarchicalTile {
  int64_t channels = 0;
  int64_t base_length = 0;  // B
  int64_t levels = 0;       // S
  int64_t position = 0;     // of the first token
  int64_t rows = 0;         // tokens

  const float* a = nullptr;
  float* c = nullptr;
  int64_t row_stride = 0;        // floats from one token's a (or c) to the next
  const float* taps0 = nullptr;  // [B] rows
  const float* taps = nullptr;   // [S, B/2] rows
  int64_t taps_stride = 0;
  const float* skip = nullptr;  // [channels]
  float* state = nullptr;       // [B + S (B/2+1) + S] rows
  int64_t state_stride = 0;
};

// Twiddles of a block of angle theta: w = e^(i theta/4), w^2 and w^3, each as
// (real, imaginary). fft.h has the maths and the order of the blocks.
inline constexpr int64_t kTwiddleElements = 6;

// One tile of the explicit convolution through the transform of fft.h. All
// rows are dense, [rows, kGroupChannels].
struct FftTile {
  int64_t size = 0;                 // U, a power of two >= 4
  const float* twiddles = nullptr;  // of at least log2 U depths
  const float* spectrum = nullptr;  // [U, 2, lanes]: G_k / U
  const float* x = nullptr;         // [U, lanes]
  float* work = nullptr;            // [U, 2, lanes], overwritten
  float* y = nullptr;  // [U, lanes]; may be x, and overlaps it no other way
  bool add = false;    // y += the result, instead of y = the result
};

// The transform alone, in place, in float64: spectra are made with it.
struct FftBlock {
  int64_t size = 0;                  // U, a power of two >= 4
  const double* twiddles = nullptr;  // of at least log2 U depths
  double* rows = nullptr;            // [U, 2, kGroupChannels], in/out
};

// The tokens of one segment through an ExplicitConvolution, for one group.
struct ExplicitGroup {
  int64_t channels = 0;  // 1 .. kGroupChannels
  int64_t ring = 0;      // M, a power of two
  int64_t near = 0;      // P = min(M, kNearTaps)
  int64_t origin = 0;    // 0 .. M-1
  int64_t position = 0;  // of the first token
  int64_t rows = 0;      // tokens

  const float* a = nullptr;
  float* c = nullptr;
  int64_t row_stride = 0;
  const float* skip = nullptr;      // [channels]
  const float* taps = nullptr;      // [P, kGroupChannels]: lags 0 .. P-1
  const float* spectra = nullptr;   // of U = P, 2P .. M, each [U, 2, lanes]
  const float* twiddles = nullptr;  // of log2 M depths
  float* state = nullptr;           // [M, channels]
  float* work = nullptr;            // [3 M, kGroupChannels], if M > kNearTaps
};

}  // namespace chela

#endif  // CHELA_KERNELS_CPU_LONG_CONVOLUTION_TASKS_H_
