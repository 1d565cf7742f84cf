// A decode step of one row as one kernel: one block a multiprocessor, all
// layers.
//
// At one row a step is a chain of small stages that need each other's results,
// while the weights, nearly all of its bytes, depend on nothing. So every
// block streams its weights through shared memory without ever stopping
// (weight_stream.cuh), and the stages hand values to each other as they come
// (step_exchange.cuh):
//
//   1 u, c of x in every block; values, shared product -> value, shared
//     the other projections                            -> reset, gates
//   2 attention, one block a tile of 64 columns        -> squares, gated
//     out product, gated residual                      -> y
//   3 norm2 in every block; up product                 -> inner
//   4 down product, residual                           -> x
//
// What is cheap is done by every block for itself, which saves a hand-over. The
// convolutions' sums over what came before need nothing of this step: a kernel
// in front of this one makes them for all layers.
//
// A place of the exchange is written again two layers later. By then everyone
// has read it: whoever writes values of layer l has read all x of layer l - 1,
// which need all y, which need all projections and values of layer l - 1, of
// which every block makes some, after it has read the last of layer l - 2.
#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/step_attention.cuh"
#include "kernels/cuda/step_feed_forward.cuh"
#include "kernels/cuda/step_projections.cuh"
#include "kernels/cuda/whole_step.cuh"

namespace chela::cuda {
namespace {

// Units of a product for this block: as even as whole units are. The last
// blocks have one more: the first ones have the attention.
__device__ StepProduct Share(int rows) {
  const int blocks = static_cast<int>(gridDim.x);
  const int all = rows / kUnitRows;
  const int less = all / blocks;
  const int more = all % blocks;  // blocks that have one more
  const int block = static_cast<int>(blockIdx.x);
  const int of_more = max(block - (blocks - more), 0);  // in front of this one
  return {block * less + of_more, less + (block >= blocks - more ? 1 : 0)};
}

__device__ void CutStages(const WholeStep& op, StepStage* stages) {
  stages[kProject] = {.stride = op.width, .weight = kStepValue};
  stages[kProject].products[0] = Share(op.value);
  stages[kProject].products[1] = Share(op.shared);
  StepProduct& gates = stages[kProject].products[2];
  gates = Share(op.value + 2 * op.width);
  gates.first += op.shared / kUnitRows;
  stages[kAttend] = {.stride = op.value, .weight = kStepOut};
  stages[kAttend].products[0] = Share(op.width);
  StepStage& up = stages[kFeedUp];
  up = {.stride = op.width, .second = op.inner, .weight = kStepUp};
  up.products[0] = Share(op.inner);  // pairs
  up.products[0].first *= 2;
  up.products[0].units *= 2;
  stages[kFeedDown] = {.stride = op.inner, .weight = kStepDown};
  stages[kFeedDown].products[0] = Share(op.width);
  for (int i = 0; i < kStepStages; ++i) stages[i].Cut();
  // What the attention waits for goes first, where that breaks no group.
  StepStage& project = stages[kProject];
  if (project.parts == 1) {
    project.early = project.products[0].units + project.products[1].units;
  }
}

// Nobody calls the next two before compute capability 9.0.
[[maybe_unused]] __device__ void SetUp(const WholeStep& op,
                                       const uint16_t** bases,
                                       StepShared& shared) {
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    CutStages(op, shared.stages);
    shared.barriers.Init();
  }
  for (int i = thread; i < op.layers * kStepProducts; i += kStepThreads) {
    bases[i] = op.layer[i / kStepProducts].weights[i % kStepProducts];
  }
  constexpr int kWords = sizeof(StepLayer) / sizeof(uint32_t);
  if (thread < kWords) {
    reinterpret_cast<uint32_t*>(&shared.layers[0])[thread] =
        reinterpret_cast<const uint32_t*>(op.layer)[thread];
  }
  __syncthreads();
}

// Asks for what this block needs ahead of a layer.
[[maybe_unused]] __device__ __forceinline__ void FetchLayer(
    const WholeStep& op, int index, const StepPlace& at,
    const AttentionTile& tile, const StepShared& shared) {
  const StepLayer& layer = shared.layers[index & 1];
  if (tile.has) {
    tile.Fetch(layer.attention, at);
  } else {
    FetchVectors(op, index, layer, op.value / kTileColumns);
  }
}

// All layers, by the workers of a block.
template <typename T>
__device__ __forceinline__ void Work(const WholeStep& op,
                                     const unsigned char* ring,
                                     StepShared& shared) {
  const StepPlace at(op, shared.layers[0]);
  const AttentionTile tile(op, shared.layers[0].attention);
  FetchLayer(op, 0, at, tile, shared);
  float* const part = shared.part[at.warp()];
  RingPlace place;
#pragma unroll 1
  for (int index = 0; index < op.layers; ++index) {
    FinishInputs inputs;
#pragma unroll 1
    for (int stage = 0; stage < kStepStages; ++stage) {
      StageWork work(shared.stages[stage], ring, shared.barriers, place);
      work.Wait();
      switch (stage) {
        case kProject:
          ReadInput<T>(op, index, at, &inputs, shared);
          break;
        case kAttend:
          if (tile.has) Attend<T>(op, index, at, tile, shared);
          if (index + 1 < op.layers) {
            FetchLayer(op, index + 1, at, tile, shared);
          }
          ReadAttention(op, index, at, &inputs, shared);
          break;
        case kFeedUp:
          ReadAttended<T>(op, index, at, shared);
          break;
        default:
          ReadLeft(at, at.Copy(op, index, op.places.inner, op.inner / 2),
                   op.inner / 2, at.Tag(index), shared);
      }
      SyncWorkers();
      const int units = shared.stages[stage].units();
      const int early = shared.stages[stage].early;
#pragma unroll 1
      for (int end = early > 0 ? early : units;; end = units) {
        work.Multiply<T>(shared.left, op.width, end, part);
        SyncWorkers();
        if (end == units) break;
        FinishProjections(op, index, at, inputs, 0, early, shared);
        work.Next();
      }
      switch (stage) {
        case kProject:
          FinishProjections(op, index, at, inputs, early, units, shared);
          StoreRings(op, index, at, shared);
          break;
        case kAttend:
          FinishAttention(op, index, at, inputs, shared);
          break;
        case kFeedUp:
          FinishInner<T>(op, index, at, shared);
          break;
        default:
          FinishLayer(op, index, at, shared);
      }
      place = work.Free();
    }
  }
  // Everybody has read it: this block has read what all wrote since.
  if (blockIdx.x == 0 && at.thread == 0) {
    *op.epoch = at.epoch + static_cast<uint32_t>(op.layers);
  }
}

template <typename T>
__global__ void __launch_bounds__(kStepThreads, 1)
    RunLayers(const __grid_constant__ WholeStep op) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(128) unsigned char memory[];
  StepShared& shared = *reinterpret_cast<StepShared*>(memory);
  unsigned char* const ring = memory + (sizeof(StepShared) + 127) / 128 * 128;
  const uint16_t** const bases =
      reinterpret_cast<const uint16_t**>(ring + StreamBarriers::kBytes);
  if (*op.rows.count == 0) return;
  SetUp(op, bases, shared);
  if (threadIdx.x < kStepWorkers) {
    Work<T>(op, ring, shared);
  } else {
    StreamWeights(shared.stages, bases, op.layers, ring, shared.barriers);
  }
#endif
}

size_t SharedBytes(int32_t layers) {
  return (sizeof(StepShared) + 127) / 128 * 128 + StreamBarriers::kBytes +
         static_cast<size_t>(layers) * kStepProducts * sizeof(void*);
}
int GridOf(const WholeStep& step, int32_t processors) {
  // Every block has some of the first product.
  return std::min(processors, step.value / kUnitRows);
}

}  // namespace

bool WholeStepTakes(const WholeStep& step, const StepLayer& layer,
                    int32_t processors, int64_t shared_bytes) {
  const LinearAttention& attention = layer.attention;
  const int32_t gates = step.value + 2 * step.width;
  const bool whole = step.width % 128 == 0 && step.inner % 64 == 0 &&
                     step.shared % 8 == 0 &&
                     attention.value_dim % (4 * kTileColumns) == 0 &&
                     attention.value_dim <= 4 * kFours * kTileColumns &&
                     attention.key_dim <= kTileKeys && attention.heads <= 32;
  const bool small =
      step.width <= kMaxStepWidth && step.value <= kMaxStepInputs &&
      step.inner <= kMaxStepInputs && layer.long_conv.levels <= kMaxStepLevels;
  if (!whole || !small || step.layers < 1) return false;
  const int32_t blocks = GridOf(step, processors);
  // Outputs that a block has of a product at most.
  const auto outputs = [blocks](int32_t rows) {
    return (rows / kUnitRows / blocks + 1) * kUnitRows;
  };
  return step.value / kTileColumns < blocks &&
         outputs(step.value) + outputs(step.shared) + outputs(gates) <=
             kMaxStepOutputs &&
         2 * outputs(step.inner) <= kMaxStepOutputs &&
         outputs(step.width) <= kMaxStepOutputs &&
         step.width <= 4 * kMaxRingFours * blocks &&
         static_cast<int64_t>(SharedBytes(step.layers)) <= shared_bytes;
}

cudaError_t LaunchWholeStep(const WholeStep& step, int32_t processors,
                            cudaStream_t stream) {
  const cudaError_t error = LaunchPastSums(step, stream);
  if (error != cudaSuccess) return error;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(GridOf(step, processors)));
  shape.block = dim3(kStepThreads);
  shape.shared_bytes = SharedBytes(step.layers);
  shape.together = true;
  shape.stream = stream;
  return step.dtype == DType::kBF16
             ? Launch(shape, RunLayers<__nv_bfloat16>, step)
             : Launch(shape, RunLayers<__half>, step);
}

}  // namespace chela::cuda
