#ifndef CHELA_SERVER_TOOLS_BENCH_STEP_BYTES_H_
#define CHELA_SERVER_TOOLS_BENCH_STEP_BYTES_H_

#include <cstdint>

#include "models/model_config.h"

namespace chela::bench {

// Bytes that one decode step must move from and to memory, whoever implements
// it: the numerator of a share of the memory ceiling. No activations, padding
// or re-reads. Averages over positions are exact over a period of the long
// convolution (2^S or M steps).
//
// With d, z, v, H, dk, dv, K, B, S, N, M as in model_config.h and
// kernels/long_convolution.h, per layer, element sizes in brackets:
//   matrices [dtype; int8: 1, and 4 for each output]  (z + v + 2d) d + 2 v d +
//   FFN, and its biases z + 2v + 2d vectors [4]       (K + 1) d + norms + d
//   (skip) + 4z + v + H taps [4]          hierarchical: d (B + B/2 sum_j
//   touched(2^-j))
//                     explicit: d (near taps + spectra of the touched tiles)
//   state [4] a sequence: attention 2 H dk dv, with replay (1 + 1/R) H dk dv +
//     ((R - 1)/2 + (R - 1)/R) (z + v); short convolution d K (K - 1
//     read, one written); long convolution, hierarchical: d (B + 1 + (B/2 + 3)
//     (1 - 2^-S)): level 0 read and a row written, the cached sum, and for
//     each level that fires its taps' blocks, the two that merge and the one
//     that enters; explicit: see ExplicitStateFloats in the .cc.
// touched(p) = p when all sequences are at one position, else 1 - (1 -
// p)^batch.
class StepBytes {
 public:
  // `matrices`: what they are packed as.
  StepBytes(const ModelConfig& config, DType matrices)
      : config_(config), matrices_(matrices) {}
  explicit StepBytes(const ModelConfig& config)
      : StepBytes(config, config.torch_dtype) {}

  // Everything but states: matrices and biases, vectors, the tied head once,
  // final norm, taps and spectra that are touched, one embedding row a
  // sequence.
  double Weights(int32_t batch, bool spread) const;
  // Reads and writes of one sequence's state for one token.
  double State() const;
  // Of these, the floats of one layer's attention.
  double LayerAttentionFloats() const;
  double Step(int32_t batch, bool spread) const {
    return Weights(batch, spread) + batch * State();
  }
  // Steps after which the work repeats: 2^S, or M for the explicit kind.
  int64_t Period() const;

 private:
  double MatrixBytes(double elements, double outputs) const;
  double LayerMatrices() const;
  double LayerVectors() const;
  double LayerTaps(int32_t batch, bool spread) const;

  const ModelConfig config_;
  const DType matrices_;
};

}  // namespace chela::bench

#endif  // CHELA_SERVER_TOOLS_BENCH_STEP_BYTES_H_
