// The blocks of a chunk of the explicit convolution.
#include "kernels/cuda/explicit_block_rows.cuh"
#include "kernels/cuda/explicit_blocks.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

__device__ __forceinline__ void AddProduct(float x_re, float x_im, float g_re,
                                           float g_im, Complex* sum) {
  sum->re = fmaf(x_re, g_re, fmaf(-x_im, g_im, sum->re));
  sum->im = fmaf(x_re, g_im, fmaf(x_im, g_re, sum->im));
}
__device__ __forceinline__ void AddProducts(const float4* x, const float4* g,
                                            Complex (&sums)[kHeld]) {
#pragma unroll
  for (int j = 0; j < kHeld / 2; ++j) {
    const float4 x2 = x[32 * j];
    const float4 g2 = __ldg(g + 32 * j);
    AddProduct(x2.x, x2.y, g2.x, g2.y, &sums[2 * j]);
    AddProduct(x2.z, x2.w, g2.z, g2.w, &sums[2 * j + 1]);
  }
}
__device__ __forceinline__ void AddProducts(const Complex (&x)[kHeld],
                                            const float4* g,
                                            Complex (&sums)[kHeld]) {
#pragma unroll
  for (int j = 0; j < kHeld; j += 2) {
    const float4 g2 = __ldg(g + 16 * j);
    AddProduct(x[j].re, x[j].im, g2.x, g2.y, &sums[j]);
    AddProduct(x[j + 1].re, x[j + 1].im, g2.z, g2.w, &sums[j + 1]);
  }
}

// A batch of input blocks from `begin` on: their transforms, then each output
// block that they meet. A block's rows of the state may be the outputs' of
// the block M rows later; that one meets no input before it and is written
// after all inputs of its batch have been read, so no input is lost.
template <bool kWide>
__device__ __forceinline__ void RunBatch(const Work& work,
                                         const BlockPlan& plan, int begin,
                                         const float4* spectra,
                                         const float2* roots,
                                         PartMemory& memory) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) % kPartThreads / 32;
  float* const plane = memory.planes[warp];
  const auto first_row = [&](int block) {
    return static_cast<int>(plan.base + int64_t{block} * kBlock - work.first);
  };
  const int count = min(kBatch, plan.last_cut - begin);
  Complex last[kHeld];
#pragma unroll 1
  for (int k = 0; k < count; ++k) {
    StageInputs<kWide>(work, first_row(begin + k), memory);
    Complex x[kHeld];
    WarpTransform(x, plane, roots);
    if (k < kStored) {
      float4* const to = memory.spectra[warp][k] + lane;
#pragma unroll
      for (int j = 0; j < kHeld / 2; ++j) {
        to[32 * j] = make_float4(x[2 * j].re, x[2 * j].im, x[2 * j + 1].re,
                                 x[2 * j + 1].im);
      }
    } else {
#pragma unroll
      for (int j = 0; j < kHeld; ++j) last[j] = x[j];
    }
  }
  // The block that the chunk's end cuts comes twice: outputs beyond the end do
  // not meet the inputs of their own block here.
  const bool cuts = plan.cuts && begin + kBatch >= plan.last_cut;
#pragma unroll 1
  for (int item = begin; item < plan.outputs + (cuts ? 1 : 0); ++item) {
    const bool meets_itself = item == plan.outputs;
    const int block = meets_itself ? plan.last_cut : item;
    bool met = false;
    Complex sums[kHeld];
#pragma unroll 1
    for (int k = 0; k < count; ++k) {
      if (!Meet(plan, begin + k, block)) continue;
      met = true;
      const float4* const g = spectra + (block - begin - k) * (kBlock / 2);
      if (k < kStored) {
        AddProducts(memory.spectra[warp][k] + lane, g, sums);
      } else {
        AddProducts(last, g, sums);
      }
    }
    if (!met) continue;
    Outputs outputs = {first_row(block), 0, INT32_MAX, false};
    for (int i = plan.inputs; i < begin; ++i) {
      outputs.begun |= Meet(plan, i, block);
    }
    if (meets_itself) {
      StageInputs<kWide>(work, outputs.first, memory);
      Complex x[kHeld];
      WarpTransform(x, plane, roots);
      AddProducts(x, spectra, sums);
      outputs.to = work.end;
    } else if (cuts && block == plan.last_cut) {
      outputs.from = work.end;
    }
    WarpTransformBack(sums, plane, roots);
    AddOutputs<kWide>(work, outputs, memory);
  }
}

template <bool kWide>
__global__ void __launch_bounds__(kMostParts* kPartThreads, 1)
    ChunkBlocks(const __grid_constant__ ExplicitConvolution op,
                const __grid_constant__ ExplicitView view, const Chunk* chunks,
                int count) {
  extern __shared__ float4 shared[];
  WaitForEarlier();
  const int part = static_cast<int>(threadIdx.x) / kPartThreads;
  const int index =
      static_cast<int>(blockIdx.x * blockDim.x) / kPartThreads + part;
  if (index >= count) return;
  const Chunk chunk = chunks[index];
  constexpr int kPartsOfGroup = kGroup / kPartChannels;
  const int group = static_cast<int>(blockIdx.y) / kPartsOfGroup;
  const GroupState state = StateOf(op, view, chunk.slot, group);
  const int first =
      static_cast<int>(blockIdx.y) % kPartsOfGroup * kPartChannels;
  if (first >= state.channels) return;
  const BlockPlan plan = PlanOf(view, chunk, state.origin);
  const Work work = WorkOf(op, view, state, chunk, first);
  const int channel =
      state.channel + first + static_cast<int>(threadIdx.x) % kPartThreads / 32;
  const auto* const spectra =
      reinterpret_cast<const float4*>(view.blocks) +
      int64_t{channel} * BlockDistances(view) * (kBlock / 2) + threadIdx.x % 32;
  PartMemory& memory = reinterpret_cast<PartMemory*>(shared)[part];
#pragma unroll 1
  for (int begin = plan.inputs; begin < plan.last_cut; begin += kBatch) {
    RunBatch<kWide>(work, plan, begin, spectra, view.roots, memory);
  }
}

bool Aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

}  // namespace

cudaError_t LaunchBlocks(const ExplicitConvolution& op,
                         const ExplicitView& view, const Chunk* chunks,
                         int32_t count, cudaStream_t stream) {
  const int parts = count < kMostParts ? count : kMostParts;
  LaunchShape shape;
  shape.grid =
      dim3(Blocks(count, parts),
           static_cast<unsigned>(view.groups * kGroup / kPartChannels));
  shape.block = dim3(static_cast<unsigned>(parts * kPartThreads));
  shape.shared_bytes = static_cast<size_t>(parts) * sizeof(PartMemory);
  shape.stream = stream;
  const bool wide = view.width % 4 == 0 && op.state.slot_stride % 4 == 0 &&
                    Aligned(op.a) && Aligned(op.skip) && Aligned(op.c) &&
                    Aligned(op.state.data);
  return wide ? Launch(shape, ChunkBlocks<true>, op, view, chunks, count)
              : Launch(shape, ChunkBlocks<false>, op, view, chunks, count);
}

}  // namespace chela::cuda
