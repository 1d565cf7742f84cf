#ifndef CHELA_KERNELS_CPU_FFT_H_
#define CHELA_KERNELS_CPU_FFT_H_

#include <vector>

namespace chela {

// The transform behind the large tiles of ExplicitConvolution, kGroupChannels
// channels side by side: every operation works on whole rows of channels, so
// no lane ever meets another.
//
// What a tile of size U needs are the outputs
//   y_n = sum_{j<U} x_j h_{U+n-j},   n = 0 .. U-1,
// the middle third of the product of U inputs and 2U taps. With
// g_n = h_n + i h_{n+U}, the product of x and g modulo z^U = i is (first third
// of x * h) + i (middle third) - (last third): the wanted one is its imaginary
// part, so a complex transform of U points does the work of a real one of 2U
// padded with zeros. With rho_k the U roots of z^U = i,
//   X_k = sum_n x_n rho_k^n,  G_k = sum_n g_n rho_k^n,
//   y_n = Im (1/U) sum_k X_k G_k rho_k^-n.
//
// The roots are reached by splitting the modulus: z^n - e^(i theta) has the
// factors z^(n/2) -+ e^(i theta/2), and so on until n = 1. Block `node` of
// depth d has the angle
//   theta(0, 0) = pi/2,  theta(d+1, 2 node + bit) = theta(d, node)/2 + pi bit,
// and X_k stands where the splitting leaves it: rho_k = e^(i theta(log2 U, k)).
// A block of a stage has one twiddle, the table does not depend on U, and as
// forward and inverse use the same order nothing is ever permuted.
//
// Precision: float32 with twiddles and spectra rounded from float64.

// Twiddles of every block of depths 0 .. depths-1, kTwiddleElements each: block
// `node` of depth d stands at kTwiddleElements * (2^d - 1 + node). A transform
// of size U needs log2 U depths.
std::vector<double> MakeTwiddles(int depths);

}  // namespace chela

#endif  // CHELA_KERNELS_CPU_FFT_H_
