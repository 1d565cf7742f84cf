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
// Half of a lane's points: what of a spectrum is loaded at once.
constexpr int kHalf = kHeld / 4;
struct HalfSpectrum {
  float4 points[kHalf];
};
template <int kWhich>
__device__ __forceinline__ HalfSpectrum LoadHalf(const float4* g) {
  HalfSpectrum out;
#pragma unroll
  for (int j = 0; j < kHalf; ++j) {
    out.points[j] = __ldg(g + 32 * (kWhich * kHalf + j));
  }
  return out;
}
template <int kWhich, typename Points>
__device__ __forceinline__ void AddHalf(const Points& x, const HalfSpectrum& g,
                                        Complex (&sums)[kHeld]) {
#pragma unroll
  for (int j = 0; j < kHalf; ++j) {
    constexpr int kFirst = kWhich * kHalf;
    const float4 x2 = x(kFirst + j);
    const float4 g2 = g.points[j];
    AddProduct(x2.x, x2.y, g2.x, g2.y, &sums[2 * (kFirst + j)]);
    AddProduct(x2.z, x2.w, g2.z, g2.w, &sums[2 * (kFirst + j) + 1]);
  }
}

// sums += the products of the batch's inputs whose bits are set in `met`, which
// is not 0, and the spectra of their distances: g(k) for input k. The next half
// of a spectrum is on its way while one is used.
template <typename SpectrumOf>
__device__ __forceinline__ void AddProducts(unsigned met,
                                            const SpectrumOf& spectrum_of,
                                            const float4 (*stored)[kBlock / 2],
                                            const Complex (&last)[kHeld],
                                            Complex (&sums)[kHeld]) {
  const auto of_last = [&last](int j) {
    return make_float4(last[2 * j].re, last[2 * j].im, last[2 * j + 1].re,
                       last[2 * j + 1].im);
  };
  const float4* g = spectrum_of(__ffs(static_cast<int>(met)) - 1);
  HalfSpectrum low = LoadHalf<0>(g);
#pragma unroll 1
  while (met != 0) {
    const int k = __ffs(static_cast<int>(met)) - 1;
    met &= met - 1;
    const HalfSpectrum high = LoadHalf<1>(g);
    if (met != 0) g = spectrum_of(__ffs(static_cast<int>(met)) - 1);
    if (k < kStored) {
      const float4* const x = stored[k] + threadIdx.x % 32;
      const auto of_stored = [x](int j) { return x[32 * j]; };
      AddHalf<0>(of_stored, low, sums);
      if (met != 0) low = LoadHalf<0>(g);
      AddHalf<1>(of_stored, high, sums);
    } else {
      AddHalf<0>(of_last, low, sums);
      AddHalf<1>(of_last, high, sums);
    }
  }
}

// The transforms of `count` blocks of inputs from `begin` on: into shared
// memory, those of a fourth one into `last`.
template <bool kWide, typename FirstRow>
__device__ __forceinline__ void TransformInputs(
    const Work& work, const FirstRow& first_row, int begin, int count,
    const LaneRoots& roots, PartMemory& memory, Complex (&last)[kHeld]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  FourChannels rows[kRowsAThread];
  LoadInputs<kWide>(work, first_row(begin), rows);
#pragma unroll 1
  for (int k = 0; k < count; ++k) {
    StageInputs(rows, memory);
    if (k + 1 < count) LoadInputs<kWide>(work, first_row(begin + k + 1), rows);
    Complex x[kHeld];
    WarpTransform(x, memory.planes[warp], roots);
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
}

// A batch of input blocks from `begin` on: their transforms, then each output
// block that they meet. A block's rows of the state may be the outputs' of
// the block M rows later; that one meets no input before it and is written
// after all inputs of its batch have been read, so no input is lost.
template <bool kWide>
__device__ __forceinline__ void RunBatch(const Work& work,
                                         const BlockPlan& plan, int begin,
                                         const float4* spectra,
                                         const LaneRoots& roots,
                                         PartMemory& memory) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  float* const plane = memory.planes[warp];
  const auto first_row = [&](int block) {
    return static_cast<int>(plan.base + int64_t{block} * kBlock - work.first);
  };
  const int count = min(kBatch, plan.last_cut - begin);
  Complex last[kHeld];
  TransformInputs<kWide>(work, first_row, begin, count, roots, memory, last);
#pragma unroll 1
  for (int block = begin; block < plan.outputs; ++block) {
    unsigned met = 0;
    for (int k = 0; k < count; ++k) {
      if (Meet(plan, begin + k, block)) met |= 1u << k;
    }
    if (met == 0) continue;
    const auto spectrum_of = [&](int k) {
      return spectra + (block - begin - k) * (kBlock / 2);
    };
    Complex sums[kHeld];
    AddProducts(met, spectrum_of, memory.spectra[warp], last, sums);
    Outputs outputs = {first_row(block), false};
    for (int i = plan.inputs; i < begin; ++i) {
      outputs.begun |= Meet(plan, i, block);
    }
    if (plan.cuts && block == plan.last_cut &&
        begin + kBatch >= plan.last_cut) {
      FourChannels rows[kRowsAThread];
      LoadInputs<kWide>(work, outputs.first, rows);
      StageInputs(rows, memory);
      Complex x[kHeld];
      WarpTransform(x, plane, roots);
      const auto own = [&x](int j) {
        return make_float4(x[2 * j].re, x[2 * j].im, x[2 * j + 1].re,
                           x[2 * j + 1].im);
      };
      AddHalf<0>(own, LoadHalf<0>(spectra), sums);
      AddHalf<1>(own, LoadHalf<1>(spectra), sums);
    }
    OutputRows rows;
    WarpTransformBack(sums, plane, roots,
                      [&] { LoadOutputs<kWide>(work, outputs, &rows); });
    StoreOutputs<kWide>(work, outputs, rows, memory);
  }
}

constexpr int kPartsOfGroup = kGroup / kPartChannels;
// Parts whose thread blocks run side by side, with all chunks: rows are moved
// in pieces of 512 bytes, and spectra stay in the second-level cache.
constexpr int kPartsTogether = 16;

template <bool kWide>
__global__ void __launch_bounds__(kPartThreads, 1)
    ChunkBlocks(const __grid_constant__ ExplicitConvolution op,
                const __grid_constant__ ExplicitView view, const Chunk* chunks,
                int count) {
  extern __shared__ float4 shared[];
  WaitForEarlier();
  const int block = static_cast<int>(blockIdx.x);
  const int first_part = block / (kPartsTogether * count) * kPartsTogether;
  const int together =
      min(kPartsTogether, view.groups * kPartsOfGroup - first_part);
  const int within = block - first_part * count;
  const int part = first_part + within % together;
  const Chunk chunk = chunks[within / together];
  const int group = part / kPartsOfGroup;
  const GroupState state = StateOf(op, view, chunk.slot, group);
  const int first = part % kPartsOfGroup * kPartChannels;
  if (first >= state.channels) return;
  const BlockPlan plan = PlanOf(view, chunk, state.origin);
  const Work work = WorkOf(op, view, state, chunk, first);
  const int channel =
      state.channel + first + static_cast<int>(threadIdx.x) / 32;
  const auto* const spectra =
      reinterpret_cast<const float4*>(view.blocks) +
      int64_t{channel} * BlockDistances(view) * (kBlock / 2) + threadIdx.x % 32;
  PartMemory& memory = *reinterpret_cast<PartMemory*>(shared);
  const LaneRoots roots = LoadLaneRoots(view.roots);
#pragma unroll 1
  for (int begin = plan.inputs; begin < plan.last_cut; begin += kBatch) {
    RunBatch<kWide>(work, plan, begin, spectra, roots, memory);
  }
}

bool Aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

}  // namespace

cudaError_t LaunchBlocks(const ExplicitConvolution& op,
                         const ExplicitView& view, const Chunk* chunks,
                         int32_t count, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(view.groups * kPartsOfGroup * count));
  shape.block = dim3(kPartThreads);
  shape.shared_bytes = sizeof(PartMemory);
  shape.stream = stream;
  const bool wide = view.width % kPartChannels == 0 &&
                    op.state.slot_stride % 4 == 0 && Aligned(op.a) &&
                    Aligned(op.skip) && Aligned(op.c) && Aligned(op.state.data);
  return wide ? Launch(shape, ChunkBlocks<true>, op, view, chunks, count)
              : Launch(shape, ChunkBlocks<false>, op, view, chunks, count);
}

}  // namespace chela::cuda
