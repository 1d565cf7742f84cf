#ifndef CHELA_KERNELS_LONG_CONVOLUTION_H_
#define CHELA_KERNELS_LONG_CONVOLUTION_H_

#include <cstddef>
#include <cstdint>

#include "kernels/step.h"

namespace chela {

// c = k_l * a + skip . a with the hierarchical kernel of B + S B/2 taps that
// spans N = B 2^S tokens: recent inputs one by one, older ones as means over
// aligned blocks of 2, 4, 8 ... positions. With w = 2^j,
//   b_j[i] = mean of a over positions i w .. (i+1) w - 1 (complete blocks)
//   n_j(t) = floor((t+1) / w) - 1
//   c_t = sum_{m<B} taps0[m] a_{t-m}
//       + sum_{j=1..S} sum_{m<B/2} taps_j[m] b_j[n_j(t) - (B/2-1) - m]
//       + skip . a_t
// Positions and blocks before the start count as 0.
//
// State of a slot, in this order, all [.., width] float32:
//   level 0: B rows, row = position mod B;
//   level j = 1..S: B/2 + 1 rows, row = block index mod (B/2 + 1); a block
//     enters when it reaches age B/2 - 1, as the mean of the two oldest of
//     the level below;
//   S cached sums: row j-1 holds the sum of levels j..S.
// Precision: float32; sums run in a fixed order (taps0 by m, then levels from
// S to 1, each by m), so a row has the same bits however the tokens are split
// into steps.
struct HierarchicalConvolution {
  int32_t width = 0;
  int32_t base_length = 0;       // B, even, >= 4
  int32_t levels = 0;            // S >= 1
  const float* a = nullptr;      // [rows, width]
  const float* taps0 = nullptr;  // [B, width]: the checkpoint's, transposed
  const float* taps = nullptr;   // [S, B/2, width]: likewise
  const float* skip = nullptr;   // [width]
  StateView state;               // [slots][B + S (B/2+1) + S, width], in/out
  float* c = nullptr;            // [rows, width], out
};

// What an ExplicitConvolution needs beside its taps: spectra of the tiles,
// made once at load. Owned by whoever asked for it; must not outlive its
// Backend.
class ExplicitKernel {
 public:
  virtual ~ExplicitKernel() = default;
  virtual int32_t width() const = 0;
  virtual int64_t length() const = 0;     // N
  virtual size_t size_bytes() const = 0;  // taps and spectra
};

// c_t = sum_{m<N} kernel[m] a_{t-m} + skip . a_t by relaxed (online)
// convolution with dyadic tiles (Fischer & Stockmeyer 1974; Flash Inference,
// arXiv 2410.12982): exact, O(log^2 N) a token.
//
// State of a slot: M rows of width floats, M the smallest power of two >= N; a
// row holds a pending output until it is emitted, then the input. With
// tau = position + origin, row = tau mod M. Each group of channels has its
// own origin, a constant function of (layer, group), so that large tiles do
// not fall on one step; results depend on the sequence's own position only.
// The rows of each group of channels stand together, [groups][M, channels of
// the group], and groups and origins are those of explicit_layout.h: a state
// means the same to every backend.
// Precision: float32. On the CPU a row has the same bits however the tokens are
// split into steps; on a GPU tokens that are one step each have others than
// chunks where M > 64.
struct ExplicitConvolution {
  const ExplicitKernel* kernel = nullptr;
  int32_t layer = 0;            // chooses the origins
  const float* a = nullptr;     // [rows, width]
  const float* skip = nullptr;  // [width]
  StateView state;              // [slots][M, width], in/out
  float* c = nullptr;           // [rows, width], out
};

}  // namespace chela

#endif  // CHELA_KERNELS_LONG_CONVOLUTION_H_
