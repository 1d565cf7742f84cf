// What a whole step needs of the past: see whole_step.h.
#include "kernels/cuda/convolution_sums.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/whole_step.h"

namespace chela::cuda {
namespace {

constexpr int kLanes = 32;
constexpr int kWarps = kResidues;

// A block has 128 channels of one layer.
__global__ void __launch_bounds__(kWarps* kLanes)
    PastSums(const __grid_constant__ WholeStep op) {
  __shared__ Channels<4> near[kResidues][kLanes];
  __shared__ Channels<4> levels[kMaxStepLevels][kLanes];
  if (*op.rows.count == 0) return;
  const int index = static_cast<int>(blockIdx.y);
  const StepLayer& layer = op.layer[index];
  const HierarchicalConvolution& conv = layer.long_conv;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int warp = static_cast<int>(threadIdx.x) / kLanes;
  Row at;
  at.slot = op.rows.slots[0];
  at.position = op.rows.positions[0];
  at.channel = (static_cast<int>(blockIdx.x) * kLanes + lane) * 4;
  float* const state =
      conv.state.data + at.slot * conv.state.slot_stride + at.channel;
  const int changed = min(__ffsll(at.position + 1) - 1, conv.levels);
  float* const out = op.past + int64_t{2} * index * op.width + at.channel;
  NearPast<4> past;
  past.Ask(conv, at, state, warp);
  for (int level = warp + 1; level <= changed; level += kWarps) {
    levels[level - 1][lane] =
        SumLevel<4>(conv, at, level, LevelPast<4>(conv, at, state, level));
  }
  near[warp][lane] = SumNear<4>(conv, at, state, warp, past);
  if (warp == kWarps - 1) Store(SumShort<4>(layer.short_conv, at), out);
  float* const sums =
      state +
      (conv.base_length + int64_t{conv.levels} * (conv.base_length / 2 + 1)) *
          op.width;
  Channels<4> sum;  // of the levels that do not change now
  if (warp == 0 && changed < conv.levels &&
      ((at.position + 1) >> (changed + 1)) != 0) {
    sum = Load<4>(sums + int64_t{changed} * op.width);
  }
  __syncthreads();
  if (warp != 0) return;
  for (int level = changed; level >= 1; --level) {
    Add(levels[level - 1][lane], &sum);
    Store(sum, sums + int64_t{level - 1} * op.width);
  }
  Channels<4> c;
#pragma unroll
  for (int residue = 0; residue < kResidues; ++residue) {
    Add(near[residue][lane], &c);
  }
  Add(sum, &c);
  Store(c, out + op.width);
}

}  // namespace

cudaError_t LaunchPastSums(const WholeStep& step, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(step.width / (4 * kLanes)),
                    static_cast<unsigned>(step.layers));
  shape.block = dim3(kWarps * kLanes);
  shape.stream = stream;
  return Launch(shape, PastSums, step);
}

}  // namespace chela::cuda
