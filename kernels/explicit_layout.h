#ifndef CHELA_KERNELS_EXPLICIT_LAYOUT_H_
#define CHELA_KERNELS_EXPLICIT_LAYOUT_H_

#include <cstdint>
#include <numbers>

namespace chela {

// What every backend must agree on for a state of ExplicitConvolution to mean
// the same to all of them (long_convolution.h).

// Channels that the explicit convolution treats as one: they share an origin,
// their state and spectra stand together, and their tiles run side by side. On
// the CPU a token meets the state of each group in another page, which costs
// more than its sums: two groups of 16 take 1.4 times as long as one of 32.
// With more channels in one the largest tile would be too much for one step.
inline constexpr int64_t kGroupChannels = 32;

// Inputs in the same aligned block of P = min(M, kNearTaps) tokens as the
// output meet it in a direct sum when it is emitted; those before the block
// came through tiles.
inline constexpr int64_t kNearTaps = 32;

// Unit `unit` (layer x groups + group) starts at row
// unit mod M * stride mod M of the ring. A tile of size U fires at one residue
// modulo 2U. As the stride is odd, 2U consecutive units meet each residue once,
// for every U; as it is near the golden section of the ring, fewer units than
// rows are spread as well.
inline int64_t ExplicitOriginStride(int64_t ring) {
  return static_cast<int64_t>(static_cast<double>(ring) / std::numbers::phi) |
         1;
}

}  // namespace chela

#endif  // CHELA_KERNELS_EXPLICIT_LAYOUT_H_
