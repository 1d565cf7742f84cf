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
// A lane's points of a kernel's spectrum, two by two.
struct Spectrum {
  float4 points[kHeld / 2];
};
__device__ __forceinline__ void LoadPoints(const float4* g, int j,
                                           Spectrum* out) {
  out->points[j] = __ldg(g + 32 * j);
}
// sums += x g. x: two points by number. then(j) is called when points j of g
// have been used.
template <typename Points, typename Then>
__device__ __forceinline__ void AddSpectrum(const Points& x, const Spectrum& g,
                                            const Then& then,
                                            Complex (&sums)[kHeld]) {
#pragma unroll
  for (int j = 0; j < kHeld / 2; ++j) {
    const float4 x2 = x(j);
    const float4 g2 = g.points[j];
    AddProduct(x2.x, x2.y, g2.x, g2.y, &sums[2 * j]);
    AddProduct(x2.z, x2.w, g2.z, g2.w, &sums[2 * j + 1]);
    then(j);
  }
}

// sums += the products of inputs `first` up to before `end` of a batch and the
// spectra of their distances; g: that of the first one. As soon as points of a
// spectrum have been used, those of the next one are asked for.
__device__ __forceinline__ void AddProducts(int first, int end, const float4* g,
                                            const float4 (*stored)[kBlock / 2],
                                            const Complex (&last)[kHeld],
                                            Complex (&sums)[kHeld]) {
  Spectrum spectrum;
#pragma unroll
  for (int j = 0; j < kHeld / 2; ++j) LoadPoints(g, j, &spectrum);
  const int end_stored = min(end, kStored);
#pragma unroll 1
  for (int k = first; k < end_stored; ++k) {
    g -= kBlock / 2;
    const bool more = k + 1 < end;
    const float4* const x = stored[k] + threadIdx.x % 32;
    AddSpectrum([x](int j) { return x[32 * j]; }, spectrum,
                [&](int j) {
                  if (more) LoadPoints(g, j, &spectrum);
                },
                sums);
  }
  if (end > kStored) {
    const auto of_last = [&last](int j) {
      return make_float4(last[2 * j].re, last[2 * j].im, last[2 * j + 1].re,
                         last[2 * j + 1].im);
    };
    AddSpectrum(
        of_last, spectrum, [](int) {}, sums);
  }
}

// The transforms of `count` blocks of inputs from `begin` on: into shared
// memory, those of a fourth one into `last`.
template <bool kWide, typename FirstRow>
__device__ __forceinline__ void TransformInputs(
    const Work& work, const FirstRow& first_row, int begin, int count,
    const float2* roots, PartMemory& memory, Complex (&last)[kHeld]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  FourChannels rows[kRowsAThread];
  LoadInputs<kWide>(work, first_row(begin), rows);
  const LaneRoots lane_roots = LoadLaneRoots(roots);
#pragma unroll 1
  for (int k = 0; k < count; ++k) {
    StageInputs(rows, memory);
    if (k + 1 < count) LoadInputs<kWide>(work, first_row(begin + k + 1), rows);
    Complex x[kHeld];
    WarpTransform(x, memory.planes[warp], lane_roots);
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

// An output block and inputs of a batch that it meets, `first` up to before
// `end` of it.
struct Target {
  int block = 0;
  int first = 0;
  int end = 0;
  bool begun = false;  // it has met inputs of an earlier batch
};
// The first one from `block` on; none if plan.outputs.
__device__ __forceinline__ Target NextTarget(const BlockPlan& plan, int begin,
                                             int count, int block) {
  for (; block < plan.outputs; ++block) {
    const MetInputs met = InputsOf(plan, block);
    const int first = max(met.first - begin, 0);
    const int end = min(met.end - begin, count);
    if (first < end) return {block, first, end, met.first < begin};
  }
  return {block, 0, 0, false};
}

// sums += what the tokens of the chunk's last block, which they do not fill,
// bring to it.
template <bool kWide>
__device__ __forceinline__ void AddOwn(const Work& work, int first,
                                       const float4* spectra,
                                       const float2* roots, PartMemory& memory,
                                       Complex (&sums)[kHeld]) {
  FourChannels rows[kRowsAThread];
  LoadInputs<kWide>(work, first, rows);
  StageInputs(rows, memory);
  Complex x[kHeld];
  WarpTransform(x, memory.planes[threadIdx.x / 32], LoadLaneRoots(roots));
  const auto own = [&x](int j) {
    return make_float4(x[2 * j].re, x[2 * j].im, x[2 * j + 1].re,
                       x[2 * j + 1].im);
  };
  Spectrum spectrum;
#pragma unroll
  for (int j = 0; j < kHeld / 2; ++j) LoadPoints(spectra, j, &spectrum);
  AddSpectrum(
      own, spectrum, [](int) {}, sums);
}

// The transforms of a batch's inputs, then each output block that they meet. A
// block's rows of the state may be the outputs' of the block M rows later; that
// one meets no input before it and is written after all inputs of its batch
// have been read, so no input is lost.
template <bool kWide>
__device__ __forceinline__ void RunBatch(const Work& work,
                                         const BlockPlan& plan, int begin,
                                         const float4* spectra,
                                         const float2* roots,
                                         PartMemory& memory) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  float* const plane = memory.planes[warp];
  const auto first_row = [&](int block) {
    return static_cast<int>(plan.base + int64_t{block} * kBlock - work.first);
  };
  const int count = min(kBatch, plan.last_cut - begin);
  Complex last[kHeld];
  TransformInputs<kWide>(work, first_row, begin, count, roots, memory, last);
  Target target = NextTarget(plan, begin, count, begin);
#pragma unroll 1
  while (target.block < plan.outputs) {
    const bool own = plan.cuts && target.block == plan.last_cut &&
                     begin + kBatch >= plan.last_cut;
    const int first = first_row(target.block);
    const Outputs outputs = {first, target.begun};
    Complex sums[kHeld];
    AddProducts(target.first, target.end,
                spectra + (target.block - begin - target.first) * (kBlock / 2),
                memory.spectra[warp], last, sums);
    if (own) AddOwn<kWide>(work, first, spectra, roots, memory, sums);
    target = NextTarget(plan, begin, count, target.block + 1);
    OutputRows rows;
    WarpTransformBack(sums, plane, LoadBackRoots(memory.back),
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
  const int parts = view.groups * kPartsOfGroup;
  const int first_part = block / (kPartsTogether * count) * kPartsTogether;
  const int together = min(kPartsTogether, parts - first_part);
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
  MakeBackRoots(memory.back);
  __syncthreads();
#pragma unroll 1
  for (int begin = plan.inputs; begin < plan.last_cut; begin += kBatch) {
    RunBatch<kWide>(work, plan, begin, spectra, view.roots, memory);
  }
}

bool Aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

}  // namespace

int64_t BlocksSharedBytes() { return int64_t{sizeof(PartMemory)}; }

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
