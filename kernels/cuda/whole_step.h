#ifndef CHELA_KERNELS_CUDA_WHOLE_STEP_H_
#define CHELA_KERNELS_CUDA_WHOLE_STEP_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/step_rows.h"
#include "kernels/dtype.h"
#include "kernels/linear_attention.h"
#include "kernels/long_convolution.h"
#include "kernels/short_convolution.h"

namespace chela::cuda {

// What the kernel has room for.
inline constexpr int32_t kMaxStepWidth = 2048;
inline constexpr int32_t kMaxStepInputs = 4096;  // of any product
inline constexpr int32_t kMaxStepLevels = 16;
inline constexpr int32_t kMaxStepOutputs = 192;  // of a block, of one stage
inline constexpr int32_t kStepProducts = 5;      // of a layer

// A layer's products, in the order of their use.
enum StepWeight { kStepValue, kStepProjections, kStepOut, kStepUp, kStepDown };

// What a layer's ops say, without the activations between them.
struct StepLayer {
  ShortConvolution short_conv;
  HierarchicalConvolution long_conv;
  LinearAttention attention;
  const uint16_t* weights[kStepProducts] = {};  // by StepWeight
  const float* value_bias = nullptr;
  const float* projections_bias = nullptr;
  const float* norm2_weight = nullptr;
};

// Copies of what every block reads: each is read by some of the blocks, or
// the few places of the second-level cache that hold it would be a bottleneck.
inline constexpr int32_t kReplicas = 4;

// Where values that blocks hand to each other in a layer stand, in words, from
// multiples of four on.
struct ExchangePlaces {
  // [kReplicas, ..]
  int32_t x = 0;      // [width], what the layer gives
  int32_t y = 0;      // [width]
  int32_t gated = 0;  // [value / 2], two rounded left operands a word
  int32_t inner = 0;  // [inner / 2], likewise
  // One copy.
  int32_t value = 0;        // [value]
  int32_t projections = 0;  // shared, reset, update, candidate
  int32_t squares = 0;      // [value / 64]
  int32_t end = 0;
};

// All layers of a step of one decode row as one kernel.
struct WholeStep {
  int32_t layers = 0;
  int32_t width = 0;   // d
  int32_t shared = 0;  // z
  int32_t value = 0;   // v
  int32_t inner = 0;   // f
  int32_t heads = 0;
  float norm1_eps = 0;
  float norm2_eps = 0;
  DType dtype = DType::kBF16;        // of the weights and the table
  const StepLayer* layer = nullptr;  // device, [layers]
  const void* table = nullptr;       // embedding, rows of `table_stride`
  int32_t table_stride = 0;
  float multiplier = 1.0f;
  const int32_t* tokens = nullptr;  // device, [1]
  DecodeRows rows;
  float* out = nullptr;   // [rows of the step, width]
  float* past = nullptr;  // device, [layers, 2, width]
  ExchangePlaces places;
  uint64_t* exchange = nullptr;  // device, ExchangeWords of zeros
  uint32_t* epoch = nullptr;     // device, 0 at first
};

ExchangePlaces PlacesOf(const WholeStep& step);
// Two layers take turns.
inline int64_t ExchangeWords(const WholeStep& step) {
  return 2 * int64_t{PlacesOf(step).end};
}

// Whether a device's shared memory and the step's shape allow it: widths that
// are multiples of what threads move at once, and within the bounds above.
// tests/models/device_invariance_test.cc compares the bits with the ops' at
// eight of them.
// `step` without device addresses.
bool WholeStepTakes(const WholeStep& step, const StepLayer& layer,
                    int32_t processors, int64_t shared_bytes);

// The sums of every layer's convolutions over what came before the step's row,
// for the whole step that follows; the rings of the levels get their new
// blocks.
cudaError_t LaunchPastSums(const WholeStep& step, cudaStream_t stream);

// Bit for bit what the ops give one after the other.
cudaError_t LaunchWholeStep(const WholeStep& step, int32_t processors,
                            cudaStream_t stream);

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_WHOLE_STEP_H_
