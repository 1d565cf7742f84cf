// A layer's first stage in a whole step: norm, convolutions, projections.
#ifndef CHELA_KERNELS_CUDA_STEP_PROJECTIONS_CUH_
#define CHELA_KERNELS_CUDA_STEP_PROJECTIONS_CUH_

#include "kernels/cuda/whole_step.cuh"

namespace chela::cuda {

template <typename T>
__device__ __forceinline__ float4 EmbeddingFour(const WholeStep& op,
                                                int channel) {
  const T* const from = static_cast<const T*>(op.table) +
                        int64_t{op.tokens[0]} * op.table_stride + channel;
  return make_float4(static_cast<float>(from[0]) * op.multiplier,
                     static_cast<float>(from[1]) * op.multiplier,
                     static_cast<float>(from[2]) * op.multiplier,
                     static_cast<float>(from[3]) * op.multiplier);
}

// The rings get u and a of four channels.
__device__ __forceinline__ void StoreRing(const StepLayer& layer,
                                          const StepPlace& at, int channel,
                                          const Channels<4>& u,
                                          const Channels<4>& a) {
  const ShortConvolution& first = layer.short_conv;
  const HierarchicalConvolution& second = layer.long_conv;
  Store(a, second.state.data + at.slot * second.state.slot_stride +
               int64_t{at.long_row} * second.width + channel);
  const int ring = first.taps - 1;
  if (ring == 0) return;
  float* const state =
      first.state.data + at.slot * first.state.slot_stride + channel;
  if (at.fresh) {
    // Nothing of the slot's last owner is ever saved with a new sequence.
    for (int r = 1; r < ring; ++r) {
      Store(Channels<4>{}, state + int64_t{r} * first.width);
    }
  }
  Store(u, state + int64_t{at.short_row} * first.width);
}

// What u, a and c of a thread's channels need besides the layer's input.
struct ConvolutionInputs {
  float4 norm[kFours], tap[kFours], long_tap[kFours], skip[kFours];
  float4 short_sum[kFours], long_sum[kFours];
};
__device__ __forceinline__ void Load(const WholeStep& op, int index,
                                     const StepPlace& at,
                                     const StepLayer& layer,
                                     ConvolutionInputs* in) {
  const int width = op.width;
  LoadFours(at, layer.short_conv.norm.weight, width, in->norm);
  LoadFours(at, layer.short_conv.weight + (layer.short_conv.taps - 1) * width,
            width, in->tap);
  LoadFours(at, layer.long_conv.taps0, width, in->long_tap);
  LoadFours(at, layer.long_conv.skip, width, in->skip);
  const float* const past = op.past + int64_t{2} * index * width;
  LoadFours(at, past, width, in->short_sum);
  LoadFours(at, past + width, width, in->long_sum);
}

__device__ __forceinline__ Channels<4> ChannelsOf(const float4& x) {
  return {{x.x, x.y, x.z, x.w}};
}

// Silu of four values side by side. A division checks its operands and
// branches, so that four would wait for one another; this is its path for
// numbers that need no care, and gives its bits.
__device__ __forceinline__ void SiluOfFour(float (&x)[4]) {
  float divisor[4];
  float quotient[4];
  bool plain = true;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    divisor[i] = 1.0f + expf(-x[i]);
    const float size = fabsf(x[i]);
    plain = plain && size > 0x1p-60f && size < 0x1p60f && divisor[i] < 0x1p60f;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float inverse;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(divisor[i]));
    inverse = fmaf(inverse, fmaf(-divisor[i], inverse, 1.0f), inverse);
    const float near = x[i] * inverse;
    quotient[i] = fmaf(inverse, fmaf(-divisor[i], near, x[i]), near);
  }
  if (!plain) {
#pragma unroll
    for (int i = 0; i < 4; ++i) quotient[i] = x[i] / divisor[i];
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = quotient[i];
}

// u and c of a thread's channels as left operands; what the rings get is kept
// by the one block that owns them.
template <typename T>
__device__ __forceinline__ void Convolve(const StepLayer& layer,
                                         const StepPlace& at,
                                         const ConvolutionInputs& in,
                                         const float4 (&x)[kFours], float scale,
                                         StepShared& shared) {
  const int width = layer.short_conv.width;
#pragma unroll
  for (int j = 0; j < kFours; ++j) {
    const int channel = at.Channel(0, j);
    if (channel >= width) break;
    *reinterpret_cast<float4*>(shared.residual + channel) = x[j];
    const Channels<4> inputs = ChannelsOf(x[j]);
    const Channels<4> norm = ChannelsOf(in.norm[j]);
    const Channels<4> tap = ChannelsOf(in.tap[j]);
    const Channels<4> sum = ChannelsOf(in.short_sum[j]);
    Channels<4> u;
    Channels<4> a;
    Channels<4> c = ChannelsOf(in.long_sum[j]);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      u.v[i] = inputs.v[i] * scale * norm.v[i];
      a.v[i] = fmaf(tap.v[i], u.v[i], sum.v[i]);
    }
    SiluOfFour(a.v);
    AddProduct(ChannelsOf(in.long_tap[j]), a, &c);
    AddProduct(ChannelsOf(in.skip[j]), a, &c);
    StoreLeft<T>(shared.left + channel, u.v[0], u.v[1], u.v[2], u.v[3]);
    StoreLeft<T>(shared.left + width + channel, c.v[0], c.v[1], c.v[2], c.v[3]);
    const int blocks = static_cast<int>(gridDim.x);
    if (channel / 4 % blocks == static_cast<int>(blockIdx.x)) {
      RingFour& ring = shared.rings[channel / 4 / blocks];
      ring.u = make_float4(u.v[0], u.v[1], u.v[2], u.v[3]);
      ring.a = make_float4(a.v[0], a.v[1], a.v[2], a.v[3]);
    }
  }
}

// The value or projection that a thread finishes.
struct StepOutput {
  __device__ __forceinline__ StepOutput(const WholeStep& op,
                                        const StepLayer& layer,
                                        const StepPlace& at,
                                        const StepShared& shared) {
    const StepProduct& values = shared.stages[kProject].products[0];
    const StepStage& stage = shared.stages[kProject];
    exists = at.thread < stage.units() * kUnitRows;
    const bool is_value = at.thread < values.units * kUnitRows;
    const int column = stage.Row(at.thread / kUnitRows) + at.thread % kUnitRows;
    place = (is_value ? op.places.value : op.places.projections) + column;
    const float* const biases =
        is_value ? layer.value_bias : layer.projections_bias;
    if (exists && biases != nullptr) bias = biases + column;
  }
  bool exists = false;
  int place = 0;  // in the exchange
  const float* bias = nullptr;
};

// The layer's input, its norm and convolutions: u and c as left operands.
template <typename T>
__device__ __forceinline__ void ReadInput(const WholeStep& op, int index,
                                          const StepPlace& at,
                                          FinishInputs* inputs,
                                          StepShared& shared) {
  const StepLayer& layer = shared.layers[index & 1];
  const StepOutput output(op, layer, at, shared);
  inputs->bias = output.bias != nullptr ? *output.bias : 0.0f;
  ConvolutionInputs in;
  Load(op, index, at, layer, &in);
  constexpr int kWords = sizeof(StepLayer) / sizeof(uint32_t);
  static_assert(kWords <= kStepWorkers);
  uint32_t next = 0;
  const bool copies = index + 1 < op.layers && at.thread < kWords;
  if (copies) {
    next = reinterpret_cast<const uint32_t*>(op.layer + index + 1)[at.thread];
  }
  float4 x[kFours];
  if (index == 0) {
#pragma unroll
    for (int j = 0; j < kFours; ++j) {
      x[j] = make_float4(0, 0, 0, 0);
      if (at.Channel(0, j) < op.width) {
        x[j] = EmbeddingFour<T>(op, at.Channel(0, j));
      }
    }
  } else {
    AwaitRow(at, at.Copy(op, index - 1, op.places.x, op.width), 0, op.width,
             at.Tag(index - 1), x);
  }
  if (copies) {
    reinterpret_cast<uint32_t*>(&shared.layers[(index + 1) & 1])[at.thread] =
        next;
  }
  const float scale = RowScale(at, x, op.width, op.norm1_eps, shared);
  Convolve<T>(layer, at, in, x, scale, shared);
}

// Nobody waits for the rings: they are written by threads that post nothing.
__device__ __forceinline__ void StoreRings(const WholeStep& op, int index,
                                           const StepPlace& at,
                                           const StepShared& shared) {
  const int i = kStepWorkers - 1 - at.thread;
  const int channel =
      4 * (static_cast<int>(blockIdx.x) + i * static_cast<int>(gridDim.x));
  if (i >= kMaxRingFours || channel >= op.width) return;
  const RingFour& ring = shared.rings[i];
  StoreRing(shared.layers[index & 1], at, channel, ChannelsOf(ring.u),
            ChannelsOf(ring.a));
}

// Of the units [first, last).
__device__ __forceinline__ void FinishProjections(
    const WholeStep& op, int index, const StepPlace& at,
    const FinishInputs& inputs, int first, int last, StepShared& shared) {
  if (at.thread < first * kUnitRows || at.thread >= last * kUnitRows) return;
  const StepOutput output(op, shared.layers[index & 1], at, shared);
  const float s = PartSum(shared, at.thread);
  Post(at.Values(op, index, output.place),
       output.bias == nullptr ? s : s + inputs.bias, at.Tag(index));
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_STEP_PROJECTIONS_CUH_
