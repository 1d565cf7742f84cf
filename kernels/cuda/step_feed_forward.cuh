// A layer's last two stages in a whole step: the feed-forward.
#ifndef CHELA_KERNELS_CUDA_STEP_FEED_FORWARD_CUH_
#define CHELA_KERNELS_CUDA_STEP_FEED_FORWARD_CUH_

#include "kernels/cuda/whole_step.cuh"

namespace chela::cuda {

template <typename T>
__device__ __forceinline__ void ReadAttended(const WholeStep& op, int index,
                                             const StepPlace& at,
                                             StepShared& shared) {
  float4 norm[kFours], y[kFours];
  LoadFours(at, shared.layers[index & 1].norm2_weight, op.width, norm);
  AwaitRow(at, at.Copy(op, index, op.places.y, op.width), 0, op.width,
           at.Tag(index), y);
  const float scale = RowScale(at, y, op.width, op.norm2_eps, shared);
#pragma unroll
  for (int j = 0; j < kFours; ++j) {
    const int channel = at.Channel(0, j);
    if (channel >= op.width) break;
    *reinterpret_cast<float4*>(shared.residual + channel) = y[j];
    StoreLeft<T>(shared.left + channel, y[j].x * scale * norm[j].x,
                 y[j].y * scale * norm[j].y, y[j].z * scale * norm[j].z,
                 y[j].w * scale * norm[j].w);
  }
}

// Rounded, by pairs of threads.
template <typename T>
__device__ __forceinline__ void FinishInner(const WholeStep& op, int index,
                                            const StepPlace& at,
                                            StepShared& shared) {
  const StepProduct& product = shared.stages[kFeedUp].products[0];
  const bool finishes = at.thread < product.units / 2 * kUnitRows;
  float value = 0;
  if (finishes) {
    const int gate =
        at.thread / kUnitRows * 2 * kUnitRows + at.thread % kUnitRows;
    value = Silu(PartSum(shared, gate)) * PartSum(shared, gate + kUnitRows);
  }
  const float next = __shfl_down_sync(kWholeWarp, value, 1);
  if (!finishes || at.thread % 2 != 0) return;
  at.PostCopies(op, index, op.places.inner, op.inner / 2,
                (product.first / 2 * kUnitRows + at.thread) / 2,
                Round2<T>(value, next));
}

__device__ __forceinline__ void FinishLayer(const WholeStep& op, int index,
                                            const StepPlace& at,
                                            StepShared& shared) {
  const StepProduct& product = shared.stages[kFeedDown].products[0];
  if (at.thread >= product.units * kUnitRows) return;
  const int output = product.first * kUnitRows + at.thread;
  const float x = shared.residual[output] + PartSum(shared, at.thread);
  if (index + 1 < op.layers) {
    at.PostCopies(op, index, op.places.x, op.width, output, __float_as_uint(x));
  } else {
    op.out[at.row * op.width + output] = x;
  }
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_STEP_FEED_FORWARD_CUH_
