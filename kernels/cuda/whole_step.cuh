// What the stages of a whole step share; whole_step.cu puts them together.
#ifndef CHELA_KERNELS_CUDA_WHOLE_STEP_CUH_
#define CHELA_KERNELS_CUDA_WHOLE_STEP_CUH_

#include "kernels/cuda/attention_math.cuh"
#include "kernels/cuda/convolution_sums.cuh"
#include "kernels/cuda/product_math.cuh"
#include "kernels/cuda/stage_products.cuh"
#include "kernels/cuda/step_exchange.cuh"
#include "kernels/cuda/weight_stream.cuh"
#include "kernels/cuda/whole_step.h"

namespace chela::cuda {

inline constexpr int kFours = 2;  // groups of four that a thread has at once

// A layer's stages: each reads what others posted as its left operand,
// multiplies, and posts what comes of it.
enum Stage { kProject, kAttend, kFeedUp, kFeedDown };

// Fours of a row whose rings one block writes; no fewer blocks take a width.
inline constexpr int kMaxRingFours = 8;

struct AttentionParts {
  float q[kTileKeys];
  float k[kTileKeys];
  float w[kTileColumns];
  float sums[kKeyGroups][kTileColumns];
};

// Four channels' new rows of the rings.
struct RingFour {
  float4 u, a;
};

// A block's shared memory; the weights' stream and the table of their
// addresses follow.
struct StepShared {
  StepStage stages[kStepStages];
  StreamBarriers barriers;
  StepLayer layers[2];  // of this one's parity, and the next
  float squares[kMaxStepWidth / 128][32];
  float residual[kMaxStepWidth];  // x, later y
  float part[kSlices][kMaxStepOutputs];
  AttentionParts attention;
  RingFour rings[kMaxRingFours];
  // u and c, or the one left operand of the stage.
  alignas(16) uint16_t left[kMaxStepInputs];
};

// Where a thread is.
struct StepPlace {
  __device__ StepPlace(const WholeStep& op, const StepLayer& any)
      : thread(static_cast<int>(threadIdx.x)),
        epoch(*op.epoch),
        row(op.rows.rows[0]),
        slot(op.rows.slots[0]),
        fresh(op.rows.positions[0] == 0) {
    const int64_t position = op.rows.positions[0];
    long_row = Mod(position, any.long_conv.base_length);
    const int ring = any.short_conv.taps - 1;
    if (ring > 0) short_row = Mod(position, ring);
  }
  __device__ __forceinline__ int warp() const { return thread / 32; }
  __device__ __forceinline__ int lane() const { return thread % 32; }
  // The first of this thread's j-th four of a row, from `first` fours on.
  __device__ __forceinline__ int Channel(int first, int j) const {
    return 4 * (first + thread + j * kStepWorkers);
  }
  __device__ __forceinline__ uint64_t* Values(const WholeStep& op, int layer,
                                              int place) const {
    return op.exchange + (layer & 1) * op.places.end + place;
  }
  // The copy of [words] values that this block reads.
  __device__ __forceinline__ const uint64_t* Copy(const WholeStep& op,
                                                  int layer, int place,
                                                  int words) const {
    return Values(op, layer, place) +
           static_cast<int>(blockIdx.x) % kReplicas * words;
  }
  // Posts one of them in every copy.
  __device__ __forceinline__ void PostCopies(const WholeStep& op, int layer,
                                             int place, int words, int word,
                                             uint32_t bits) const {
    uint64_t* const to = Values(op, layer, place) + word;
#pragma unroll
    for (int i = 0; i < kReplicas; ++i) {
      PostBits(to + i * words, bits, Tag(layer));
    }
  }
  __device__ __forceinline__ uint32_t Tag(int layer) const {
    return epoch + 1 + static_cast<uint32_t>(layer);
  }

  int thread;
  uint32_t epoch;
  int64_t row;  // of the activations
  int64_t slot;
  bool fresh;         // the sequence's first token
  int short_row = 0;  // of its ring, where u goes
  int long_row = 0;   // of level 0, where a goes
};

template <typename T>
__device__ __forceinline__ void StoreLeft(uint16_t* to, float a, float b,
                                          float c, float d) {
  *reinterpret_cast<uint2*>(to) = make_uint2(Round2<T>(a, b), Round2<T>(c, d));
}

// 1 / rms of a row of which each worker has the fours `x`; all of them call it.
// WarpNormStatistics's sums in its order.
__device__ __forceinline__ float RowScale(const StepPlace& at,
                                          const float4 (&x)[kFours], int width,
                                          float eps, StepShared& shared) {
#pragma unroll
  for (int j = 0; j < kFours; ++j) {
    if (at.Channel(0, j) < width) {
      shared.squares[at.Channel(0, j) / 128][at.lane()] =
          SumOfFour(x[j], [](float v, float sum) { return fmaf(v, v, sum); });
    }
  }
  SyncWorkers();
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kMaxStepWidth / 128; ++i) {
    if (i < width / 128) sum += shared.squares[i][at.lane()];
  }
  return 1.0f / sqrtf(WarpSum(sum) / static_cast<float>(width) + eps);
}

// The fours of a vector of weights.
__device__ __forceinline__ void LoadFours(const StepPlace& at,
                                          const float* from, int width,
                                          float4 (&out)[kFours]) {
#pragma unroll
  for (int j = 0; j < kFours; ++j) {
    const int channel = at.Channel(0, j);
    out[j] = make_float4(0, 0, 0, 0);
    if (channel < width) {
      out[j] = *reinterpret_cast<const float4*>(from + channel);
    }
  }
}

// Those of values that other blocks post, of `width` from `first` fours on;
// anything beyond.
__device__ __forceinline__ void AwaitRow(const StepPlace& at,
                                         const uint64_t* from, int first,
                                         int width, uint32_t tag,
                                         float4 (&out)[kFours]) {
  const uint64_t* places[kFours];
#pragma unroll
  for (int j = 0; j < kFours; ++j) {
    // Beyond the row the first four stand in.
    const int channel = at.Channel(first, j);
    places[j] = from + (channel < width ? channel : 0);
  }
  if (width <= 4 * (first + kStepWorkers)) {  // nobody has a second four
    const uint64_t* const place[1] = {places[0]};
    float4 four[1];
    AwaitFours(place, tag, four);
    out[0] = four[0];
    return;
  }
  AwaitFours(places, tag, out);
}

// A left operand that other blocks post rounded, [words] of two.
__device__ __forceinline__ void ReadLeft(const StepPlace& at,
                                         const uint64_t* from, int words,
                                         uint32_t tag, StepShared& shared) {
  for (int first = 0; 4 * first < words; first += kStepWorkers) {
    const int word = at.Channel(first, 0);
    const bool in = word < words;
    const uint64_t* const places[1] = {from + (in ? word : 0)};
    float4 bits[1];
    AwaitFours(places, tag, bits);
    if (in) *reinterpret_cast<float4*>(shared.left + 2 * word) = bits[0];
  }
}

// An output's sum from those of the slices.
__device__ __forceinline__ float PartSum(const StepShared& shared, int output) {
  float slices[kSlices];
#pragma unroll
  for (int j = 0; j < kSlices; ++j) slices[j] = shared.part[j][output];
  return AddSlices(slices);
}

// Brings what a layer reads besides weights and states into the second-level
// cache, by blocks first ..: a load that misses it stands behind all weights
// that were asked for, and every block waits for it.
__device__ __noinline__ void FetchVectors(const WholeStep& op, int index,
                                          const StepLayer& layer, int first) {
  const int lag0 = (layer.short_conv.taps - 1) * op.width;
  const int projections = op.shared + op.value + 2 * op.width;
  constexpr int kLine = 32;
  // The next layer's begins anywhere in a line.
  constexpr int kLayer = sizeof(StepLayer) / sizeof(float) + kLine;
  const bool last = index + 1 == op.layers;
  const float* const vectors[] = {
      layer.short_conv.norm.weight,
      layer.short_conv.weight + lag0,
      layer.long_conv.taps0,
      layer.long_conv.skip,
      layer.norm2_weight,
      layer.value_bias,
      layer.projections_bias,
      layer.attention.norm_weight,
      layer.attention.q_scale,
      layer.attention.q_bias,
      layer.attention.k_scale,
      layer.attention.k_bias,
      layer.attention.decay,
      op.past + int64_t{2} * index * op.width,
      last ? nullptr : reinterpret_cast<const float*>(op.layer + index + 1)};
  const int widths[] = {op.width,  op.width,     op.width,    op.width,
                        op.width,  op.value,     projections, op.value,
                        op.shared, op.shared,    op.shared,   op.shared,
                        op.heads,  2 * op.width, kLayer};
  const int blocks = static_cast<int>(gridDim.x) - first;
  int line = static_cast<int>(threadIdx.x) * blocks +
             static_cast<int>(blockIdx.x) - first;
#pragma unroll
  for (int i = 0; i < 15; ++i) {
    const int lines = (widths[i] + kLine - 1) / kLine;
    if (line >= 0 && line < lines && vectors[i] != nullptr) {
      asm volatile("prefetch.global.L2 [%0];" ::"l"(vectors[i] + line * kLine));
    }
    line -= lines;
  }
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_WHOLE_STEP_CUH_
