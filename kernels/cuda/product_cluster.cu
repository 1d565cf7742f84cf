// Products of up to 64 rows: a cluster of 8 blocks owns 128 outputs, each block
// one slice of the inputs, so that rows of the left operand are read once for
// 128 outputs. The slices meet through distributed shared memory: block r adds
// outputs 16 r .. 16 r + 15.
#include <cooperative_groups.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/product_kernels.h"
#include "kernels/cuda/product_math.cuh"

namespace chela::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kOutputs = 128;  // of a cluster
constexpr int kStage = 2;      // chunks that are staged at a time
constexpr int kLeftPitch = kStage * kChunk + 8;  // 16-bit; spreads the banks
constexpr int kPartPitch = kOutputs + 4;         // floats; likewise

// What two outputs' lanes hold of kStage chunks.
struct StageWeights {
  __device__ __forceinline__ void Load(const uint16_t* row, int64_t eight_rows,
                                       int chunk, int end) {
#pragma unroll
    for (int i = 0; i < kStage; ++i) {
      if (chunk + i >= end) break;
      top[i] = LoadLane(row + (chunk + i) * kChunk);
      bottom[i] = LoadLane(row + (chunk + i) * kChunk + eight_rows);
    }
  }
  LaneWeights top[kStage];
  LaneWeights bottom[kStage];
};

// Where the rows of the left operand begin, and their statistics.
template <int kRows>
struct LeftRows {
  const float* x[kRows];
  NormStatistics statistics[kRows];

  // Rows that are not there get the address of one that is, so that loads need
  // no branch.
  __device__ __forceinline__ void Find(const Product& p, int first_row,
                                       int count) {
    const int row = static_cast<int>(threadIdx.x);
    if (row >= kRows) return;
    const int there = first_row + (row < count ? row : 0);
    x[row] = p.x + RowAt(p.in_rows, there) * p.x_stride;
    if (p.normed) statistics[row] = p.statistics[there];
  }
};

// Inputs from `column` on, rounded into shared memory; rows from `count` on are
// zero. A thread has one group of four inputs of every eighth row.
template <typename T, int kRows>
__device__ __forceinline__ void Stage(const Product& p,
                                      const LeftRows<kRows>& rows, int count,
                                      int column, bool full, uint16_t* left) {
  const int own = static_cast<int>(threadIdx.x) % 32 * 4;
  const int first = static_cast<int>(threadIdx.x) / 32;
  float4 v[kRows / 8];
  if (full && column + own < p.weight.stride) {
#pragma unroll
    for (int i = 0; i < kRows / 8; ++i) {
      v[i] = __ldcg(reinterpret_cast<const float4*>(rows.x[first + 8 * i] +
                                                    column + own));
    }
#pragma unroll
    for (int i = 0; i < kRows / 8; ++i) {
      v[i] = NormedFour(p, v[i], rows.statistics[first + 8 * i], column + own);
    }
  } else {
    const bool aligned = RowsAligned(p);
#pragma unroll
    for (int i = 0; i < kRows / 8; ++i) {
      v[i] = LeftFour(p, rows.x[first + 8 * i], rows.statistics[first + 8 * i],
                      column + own, aligned);
    }
  }
#pragma unroll
  for (int i = 0; i < kRows / 8; ++i) {
    const int row = first + 8 * i;
    uint2 rounded = make_uint2(0, 0);
    if (row < count) {
      rounded =
          make_uint2(Round2<T>(v[i].x, v[i].y), Round2<T>(v[i].z, v[i].w));
    }
    *reinterpret_cast<uint2*>(left + row * kLeftPitch + own) = rounded;
  }
}

template <typename T, int kRowTiles, bool kSwiglu>
__global__ void __launch_bounds__(kThreads, 2)
    ClusterProduct(const __grid_constant__ ProductSet set) {
#if __CUDA_ARCH__ >= 900
  namespace cg = cooperative_groups;
  constexpr int kRows = kRowTiles * 8;
  // The staged rows are read before the sums are written over them.
  constexpr int kBytes =
      kRows *
      (kPartPitch * 4 > kLeftPitch * 2 ? kPartPitch * 4 : kLeftPitch * 2);
  __shared__ __align__(16) unsigned char memory[kBytes];
  __shared__ LeftRows<kRows> rows;
  uint16_t* const left = reinterpret_cast<uint16_t*>(memory);
  float* const part = reinterpret_cast<float*>(memory);

  const cg::cluster_group cluster = cg::this_cluster();
  const int group = static_cast<int>(blockIdx.x) / kSlices;
  const bool second = group >= set.first_tiles;
  const Product& p = set.products[second ? 1 : 0];
  const int tile = group - (second ? set.first_tiles : 0);
  const int slice = static_cast<int>(cluster.block_rank());
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int g = lane / 4;
  const int t = lane % 4;
  const int stride = p.weight.stride;
  const int outputs = kSwiglu ? p.weight.rows / 2 : p.weight.rows;
  constexpr int kOwn = kSwiglu ? kOutputs / 2 : kOutputs;
  // The first weight row of this warp's 16: for kSwiglu half of the warps have
  // the gates and half the rows that they meet.
  const int warp_row = kSwiglu
                           ? warp / 4 * outputs + tile * kOwn + warp % 4 * 16
                           : tile * kOwn + warp * 16;
  const int begin = SliceBegin(stride, slice);
  const int end = SliceBegin(stride, slice + 1);

  LetLaterStart();
  const uint16_t* const row = static_cast<const uint16_t*>(p.weight.data) +
                              int64_t{warp_row + g} * stride + t * 16;
  StageWeights weights;
  weights.Load(row, int64_t{8} * stride, begin, end);
  const int first_row = static_cast<int>(blockIdx.y) * kRows;
  const int count = min(*p.count - first_row, kRows);

  WaitForEarlier();
  if (count <= 0) return;  // the whole cluster
  rows.Find(p, first_row, count);
  const bool full = RowsAligned(p) && stride == p.weight.cols;
  __syncthreads();
  float sums[kRowTiles][4] = {};
  for (int chunk = begin; chunk < end; chunk += kStage) {
    if (chunk > begin) {
      weights.Load(row, int64_t{8} * stride, chunk, end);
      __syncthreads();  // all have read what is staged
    }
    Stage<T, kRows>(p, rows, count, chunk * kChunk, full, left);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kStage; ++i) {
      if (chunk + i >= end) break;
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        const uint4* from = reinterpret_cast<const uint4*>(
            left + (r * 8 + g) * kLeftPitch + i * kChunk + t * 16);
        const uint4 low = from[0];
        const uint4 high = from[1];
        const LaneWeights& a = weights.top[i];
        const LaneWeights& b = weights.bottom[i];
        MultiplyAdd<T>(sums[r], a.low.x, b.low.x, a.low.y, b.low.y, low.x,
                       low.y);
        MultiplyAdd<T>(sums[r], a.low.z, b.low.z, a.low.w, b.low.w, low.z,
                       low.w);
        MultiplyAdd<T>(sums[r], a.high.x, b.high.x, a.high.y, b.high.y, high.x,
                       high.y);
        MultiplyAdd<T>(sums[r], a.high.z, b.high.z, a.high.w, b.high.w, high.z,
                       high.w);
      }
    }
  }

  __syncthreads();
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
    float* at = part + (r * 8 + 2 * t) * kPartPitch + warp * 16 + g;
    at[0] = sums[r][0];
    at[kPartPitch] = sums[r][1];
    at[8] = sums[r][2];
    at[kPartPitch + 8] = sums[r][3];
  }
  cluster.sync();
  constexpr int kFinish = kOwn / kSlices;  // outputs that this block finishes
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kFinish;
       i += kThreads) {
    const int m = i / kFinish;
    const int own = slice * kFinish + i % kFinish;
    const int output = tile * kOwn + own;
    if (m >= count || output >= outputs) continue;
    float slices[kSlices];
    float other[kSlices];
#pragma unroll
    for (int j = 0; j < kSlices; ++j) {
      const float* from =
          cluster.map_shared_rank(part, j) + m * kPartPitch + own;
      slices[j] = from[0];
      if constexpr (kSwiglu) other[j] = from[kOwn];
    }
    const float s = AddSlices(slices);
    const float s2 = kSwiglu ? AddSlices(other) : 0.0f;
    FinishOne(p.finish, RowAt(p.out_rows, first_row + m), output, s, s2);
  }
  cluster.sync();  // the others may still read this block's sums
#endif
}

template <typename T, bool kSwiglu>
cudaError_t LaunchTyped(const ProductSet& set, int row_tiles,
                        const LaunchShape& shape) {
  return row_tiles == 4 ? Launch(shape, ClusterProduct<T, 4, kSwiglu>, set)
                        : Launch(shape, ClusterProduct<T, 8, kSwiglu>, set);
}

}  // namespace

cudaError_t LaunchCluster(ProductSet set, const ProductLaunch& launch) {
  const bool swiglu = set.products[0].finish.kind == Finish::kSwiglu;
  const auto tiles = [swiglu](const Product& p) {
    return swiglu ? Blocks(p.weight.rows / 2, kOutputs / 2)
                  : Blocks(p.weight.rows, kOutputs);
  };
  set.first_tiles = static_cast<int32_t>(tiles(set.products[0]));
  const unsigned second = set.pair ? tiles(set.products[1]) : 0;
  const int row_tiles = launch.max_rows <= 32 ? 4 : 8;
  LaunchShape shape;
  shape.grid = dim3((static_cast<unsigned>(set.first_tiles) + second) * kSlices,
                    Blocks(launch.max_rows, row_tiles * 8));
  shape.block = dim3(kThreads);
  shape.cluster = kSlices;
  shape.overlap = launch.overlap;
  shape.stream = launch.stream;
  if (set.products[0].weight.dtype == DType::kBF16) {
    return swiglu ? LaunchTyped<__nv_bfloat16, true>(set, row_tiles, shape)
                  : LaunchTyped<__nv_bfloat16, false>(set, row_tiles, shape);
  }
  return swiglu ? LaunchTyped<__half, true>(set, row_tiles, shape)
                : LaunchTyped<__half, false>(set, row_tiles, shape);
}

}  // namespace chela::cuda
