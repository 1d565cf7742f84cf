// Products of any rows: a block owns 16 to 64 outputs for up to 64 rows, each
// of its 8 warps one slice of the inputs. Weights stream through shared memory,
// the left operand, rounded by whoever made it, comes straight from the
// second-level cache into the tensor cores' registers.

#include "kernels/cuda/launch.h"
#include "kernels/cuda/left_rows.cuh"
#include "kernels/cuda/product_kernels.h"
#include "kernels/cuda/product_math.cuh"
#include "kernels/cuda/weight_ring.cuh"

namespace chela::cuda {
namespace {

constexpr int kThreads = 256;

// Half a chunk: two instructions for each tile of outputs and of rows.
template <typename T, int kTiles, int kRowTiles, typename Ring>
__device__ __forceinline__ void MultiplyHalf(
    const Ring& ring, int chunk, int begin, int half,
    const LeftHalf<kRowTiles>& left, float (&sums)[kTiles][kRowTiles][4]) {
  const int g = static_cast<int>(threadIdx.x) % 32 / 4;
  const int t = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
  for (int k = 0; k < kTiles; ++k) {
    const int byte = half * kChunk + t * 16;
    const uint4 top = ring.At(chunk, begin, k * kTile + g, byte);
    const uint4 bottom = ring.At(chunk, begin, k * kTile + g + 8, byte);
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      const uint4& b = left.b[r];
      MultiplyAdd<T>(sums[k][r], top.x, bottom.x, top.y, bottom.y, b.x, b.y);
      MultiplyAdd<T>(sums[k][r], top.z, bottom.z, top.w, bottom.w, b.z, b.w);
    }
  }
}

// How a block is cut and how deep its loads go.
template <int kTilesOf, int kRowTilesOf, int kDepthOf, int kBlocksOf>
struct Cut {
  static constexpr int kTiles = kTilesOf;        // of 16 outputs
  static constexpr int kRowTiles = kRowTilesOf;  // of 8 rows
  static constexpr int kDepth = kDepthOf;    // halves of chunks under way, even
  static constexpr int kBlocks = kBlocksOf;  // a multiprocessor, at least
};

// A warp's slice: chunks are multiplied while those behind them are on their
// way.
template <typename T, typename C, typename Ring>
__device__ __forceinline__ void MultiplySlice(
    const Ring& ring, const LeftRows<C::kRowTiles>& left, int begin, int end,
    float (&sums)[C::kTiles][C::kRowTiles][4]) {
  constexpr int kAhead = C::kDepth / 2;  // chunks
  LeftHalf<C::kRowTiles> held[kAhead][2];
#pragma unroll
  for (int i = 0; i < kAhead; ++i) {
    if (begin + i >= end) break;
    held[i][0].Load(left, begin + i, 0);
    held[i][1].Load(left, begin + i, 1);
  }
  for (int first = begin; first < end; first += kAhead) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int chunk = first + i;
      if (chunk >= end) break;
      ring.WaitForOldest();
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        MultiplyHalf<T, C::kTiles, C::kRowTiles>(ring, chunk, begin, half,
                                                 held[i][half], sums);
        if (chunk + kAhead < end) {
          held[i][half].Load(left, chunk + kAhead, half);
        }
      }
      __syncwarp();
      ring.Ask(chunk + Ring::kDepth, begin, end);
    }
  }
}

template <typename T, typename C, int kStages, bool kSwiglu>
__global__ void __launch_bounds__(kThreads, C::kBlocks)
    WideProduct(const __grid_constant__ ProductSet set) {
  constexpr int kTiles = C::kTiles;
  constexpr int kRowTiles = C::kRowTiles;
  using Ring = WeightRing<kTiles, kStages>;
  constexpr int kRows = kRowTiles * 8;
  constexpr int kOutputs = kTiles * kTile;
  constexpr int kPitch = kOutputs + 4;  // of a row of sums; spreads the banks
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ int32_t row_of[kRows];  // of the left operand
  __shared__ int32_t out_row_of[kRows];

  const bool second = static_cast<int>(blockIdx.x) >= set.first_tiles;
  const Product& p = set.products[second ? 1 : 0];
  const int block =
      static_cast<int>(blockIdx.x) - (second ? set.first_tiles : 0);
  const int thread = static_cast<int>(threadIdx.x);
  const int slice = thread / 32;
  const int lane = thread % 32;
  const int g = lane / 4;
  const int t = lane % 4;
  const int stride = p.weight.stride;
  const int outputs = kSwiglu ? p.weight.rows / 2 : p.weight.rows;
  constexpr int kOwn = kSwiglu ? kTile : kOutputs;  // of this block
  const int begin = SliceBegin(stride, slice);
  const int end = SliceBegin(stride, slice + 1);

  LetLaterStart();
  Ring ring;
  ring.memory = memory + slice * Ring::kBytes;
  ring.stride = stride;
#pragma unroll
  for (int k = 0; k < kTiles; ++k) {
    const int64_t first =
        kSwiglu ? k * outputs + block * kTile : block * kOutputs + k * kTile;
    ring.rows[k] = static_cast<const uint16_t*>(p.weight.data) +
                   (first + lane / 8) * stride + lane % 8 * 8;
  }
#pragma unroll
  for (int i = 0; i < kStages; ++i) ring.Ask(begin + i, begin, end);
  const int first_row = static_cast<int>(blockIdx.y) * kRows;
  const int count = min(*p.count - first_row, kRows);
  // Rows that are not there read one that is, so that loads need no branch.
  if (thread < kRows && count > 0) {
    const int row = first_row + (thread < count ? thread : 0);
    row_of[thread] = static_cast<int32_t>(RowAt(p.in_rows, row));
    out_row_of[thread] = static_cast<int32_t>(RowAt(p.out_rows, row));
  }
  // A thread finishes one output of every kRowStep-th row.
  constexpr int kRowStep = kThreads / kOwn;
  constexpr int kRounds = (kRows + kRowStep - 1) / kRowStep;
  const int own = thread % kOwn;
  const int output = block * kOwn + own;
  const float bias = output < outputs ? LoadBias(p.finish, output) : 0.0f;
  __syncthreads();
  LeftRows<kRowTiles> left;
  left.first = static_cast<const uint16_t*>(p.rounded) + t * 8;
  if (count > 0) {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      left.offsets[r] = row_of[r * 8 + g] * stride;
    }
  }

  WaitForEarlier();
  if (count <= 0) {
    WaitForCopies<0>();
    return;
  }
  float sums[kTiles][kRowTiles][4] = {};
  MultiplySlice<T, C>(ring, left, begin, end, sums);
  WaitForCopies<0>();
  __syncthreads();  // the sums take the weights' place

  float* const part = reinterpret_cast<float*>(memory);
#pragma unroll
  for (int k = 0; k < kTiles; ++k) {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      float* const at =
          part + (slice * kRows + r * 8 + 2 * t) * kPitch + k * kTile + g;
      at[0] = sums[k][r][0];
      at[kPitch] = sums[k][r][1];
      at[8] = sums[k][r][2];
      at[kPitch + 8] = sums[k][r][3];
    }
  }
  // All that a thread finishes with is asked for at once.
  FinishInputs inputs[kRounds];
#pragma unroll
  for (int j = 0; j < kRounds; ++j) {
    const int m = thread / kOwn + j * kRowStep;
    if (m < count && output < outputs) {
      inputs[j] = LoadFinishInputs(p.finish, out_row_of[m], output, bias);
    }
  }
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kRounds; ++j) {
    const int m = thread / kOwn + j * kRowStep;
    if (m >= count || output >= outputs) break;
    float slices[kSlices];
    float other[kSlices];
#pragma unroll
    for (int i = 0; i < kSlices; ++i) {
      const float* const from = part + (i * kRows + m) * kPitch + own;
      slices[i] = from[0];
      if constexpr (kSwiglu) other[i] = from[kTile];
    }
    StoreFinished<T>(p.finish, out_row_of[m], output,
                     FinishValue(p.finish, inputs[j], AddSlices(slices),
                                 kSwiglu ? AddSlices(other) : 0.0f));
  }
}

// Blocks that a cut makes.
template <typename C, bool kSwiglu>
unsigned BlocksOf(const Product& p) {
  constexpr int kOwn = kSwiglu ? C::kTiles * kTile / 2 : C::kTiles * kTile;
  return Blocks(kSwiglu ? p.weight.rows / 2 : p.weight.rows, kOwn);
}

template <typename T, typename C, int kStages, bool kSwiglu>
cudaError_t LaunchOf(ProductSet set, LaunchShape shape, int32_t max_rows) {
  constexpr int kRows = C::kRowTiles * 8;
  const unsigned first = BlocksOf<C, kSwiglu>(set.products[0]);
  const unsigned second = set.pair ? BlocksOf<C, kSwiglu>(set.products[1]) : 0;
  set.first_tiles = static_cast<int32_t>(first);
  shape.grid = dim3(first + second, Blocks(max_rows, kRows));
  constexpr size_t kRing = kSlices * WeightRing<C::kTiles, kStages>::kBytes;
  constexpr size_t kSums =
      sizeof(float) * kSlices * kRows * (C::kTiles * kTile + 4);
  shape.shared_bytes = kRing > kSums ? kRing : kSums;
  return Launch(shape, WideProduct<T, C, kStages, kSwiglu>, set);
}

template <typename T, typename C, bool kSwiglu>
cudaError_t LaunchCut(const ProductSet& set, const LaunchShape& shape,
                      const ProductLaunch& launch) {
  // Slices of two chunks are wholly under way with two stages.
  constexpr int kMost = C::kTiles > 2 ? 3 : 4;  // that shared memory holds
  return set.products[0].weight.stride <= 2 * kSlices * kChunk
             ? LaunchOf<T, C, 2, kSwiglu>(set, shape, launch.max_rows)
             : LaunchOf<T, C, kMost, kSwiglu>(set, shape, launch.max_rows);
}

// Whether a cut leaves few multiprocessors without a block: at most 3 of 8. A
// block of many outputs and rows reads either operand less often.
template <typename C, bool kSwiglu>
bool Fills(const ProductSet& set, const ProductLaunch& launch) {
  unsigned blocks = BlocksOf<C, kSwiglu>(set.products[0]);
  if (set.pair) blocks += BlocksOf<C, kSwiglu>(set.products[1]);
  blocks *= Blocks(launch.max_rows, C::kRowTiles * 8);
  return blocks * 8 >= static_cast<unsigned>(launch.processors) * 5;
}

template <typename T, bool kSwiglu>
cudaError_t LaunchTiles(const ProductSet& set, const LaunchShape& shape,
                        const ProductLaunch& launch) {
  constexpr int kLeastTiles = kSwiglu ? 2 : 1;
  const int rows = launch.max_rows;
  if (rows <= 8) {
    return LaunchCut<T, Cut<kLeastTiles, 1, 4, kSwiglu ? 3 : 4>, kSwiglu>(
        set, shape, launch);
  }
  if (rows <= 16) {
    return LaunchCut<T, Cut<kLeastTiles, 2, 4, kSwiglu ? 2 : 3>, kSwiglu>(
        set, shape, launch);
  }
  if constexpr (!kSwiglu) {
    using Largest = Cut<4, 8, 2, 1>;
    if (rows > 32 && Fills<Largest, kSwiglu>(set, launch)) {
      return LaunchCut<T, Largest, kSwiglu>(set, shape, launch);
    }
  }
  using Large = Cut<2, 8, 4, 1>;
  if (rows > 32 && Fills<Large, kSwiglu>(set, launch)) {
    return LaunchCut<T, Large, kSwiglu>(set, shape, launch);
  }
  using Medium = Cut<2, 4, 4, 2>;
  if (kSwiglu || Fills<Medium, kSwiglu>(set, launch)) {
    return LaunchCut<T, Medium, kSwiglu>(set, shape, launch);
  }
  return LaunchCut<T, Cut<kLeastTiles, 4, 4, 2>, kSwiglu>(set, shape, launch);
}

template <typename T>
cudaError_t LaunchTyped(const ProductSet& set, const LaunchShape& shape,
                        const ProductLaunch& launch) {
  return set.products[0].finish.kind == Finish::kSwiglu
             ? LaunchTiles<T, true>(set, shape, launch)
             : LaunchTiles<T, false>(set, shape, launch);
}

}  // namespace

cudaError_t LaunchWide(const ProductSet& set, const ProductLaunch& launch) {
  LaunchShape shape;
  shape.block = dim3(kThreads);
  shape.overlap = launch.overlap;
  shape.stream = launch.stream;
  return set.products[0].weight.dtype == DType::kBF16
             ? LaunchTyped<__nv_bfloat16>(set, shape, launch)
             : LaunchTyped<__half>(set, shape, launch);
}

}  // namespace chela::cuda
