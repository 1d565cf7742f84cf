// Products of up to 16 rows: a block owns 16 outputs (32 for kSwiglu), each of
// its 8 warps one slice of the inputs.
//
// Per warp and chunk of 64 inputs, lane (g, t) = (lane / 4, lane % 4) loads 16
// neighbouring inputs of outputs g and g + 8 straight into the registers that
// the tensor cores read, so that every request is whole 32-byte sectors; row g
// of the left operand is read likewise. What the pairing of inputs to the
// instruction's positions is does not matter as long as both sides agree.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/product_kernels.h"
#include "kernels/cuda/product_math.cuh"

namespace chela::cuda {
namespace {

constexpr int kOutputs = 16;

template <int kTiles, int kAhead>
struct SliceWeights {
  // Chunks chunk .. chunk + kAhead - 1, as far as they are before `end`.
  __device__ __forceinline__ void Load(const uint16_t* const (&rows)[kTiles],
                                       int64_t eight_rows, int chunk, int end) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (chunk + i >= end) break;
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const uint16_t* at = rows[tile] + (chunk + i) * kChunk;
        top[tile][i] = LoadLane(at);
        bottom[tile][i] = LoadLane(at + eight_rows);
      }
    }
  }

  LaneWeights top[kTiles][kAhead];
  LaneWeights bottom[kTiles][kAhead];
};

template <typename T>
__device__ __forceinline__ void MultiplyChunk(float (&sums)[4],
                                              const LaneWeights& top,
                                              const LaneWeights& bottom,
                                              const uint32_t (&left)[8]) {
  MultiplyAdd<T>(sums, top.low.x, bottom.low.x, top.low.y, bottom.low.y,
                 left[0], left[1]);
  MultiplyAdd<T>(sums, top.low.z, bottom.low.z, top.low.w, bottom.low.w,
                 left[2], left[3]);
  MultiplyAdd<T>(sums, top.high.x, bottom.high.x, top.high.y, bottom.high.y,
                 left[4], left[5]);
  MultiplyAdd<T>(sums, top.high.z, bottom.high.z, top.high.w, bottom.high.w,
                 left[6], left[7]);
}

template <typename T, int kRowTiles, int kTiles, int kAhead>
__global__ void __launch_bounds__(kNormThreads)
    SmallProduct(const __grid_constant__ ProductSet set) {
  constexpr int kRows = kRowTiles * 8;
  constexpr int kPitch = kTiles * kOutputs + 4;  // spreads the banks
  __shared__ float part[kSlices][kRows][kPitch];
  __shared__ float norm_part[kRows][kNormWarps];
  __shared__ NormStatistics norm_of[kRows];

  const bool second = static_cast<int>(blockIdx.x) >= set.first_tiles;
  const Product& p = set.products[second ? 1 : 0];
  const int tile =
      static_cast<int>(blockIdx.x) - (second ? set.first_tiles : 0);
  const int slice = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int g = lane / 4;
  const int t = lane % 4;
  const int stride = p.weight.stride;
  const int outputs = p.weight.rows / kTiles;
  const int first_output = tile * kOutputs;
  const int begin = SliceBegin(stride, slice);
  const int end = SliceBegin(stride, slice + 1);

  LetLaterStart();
  const uint16_t* rows[kTiles];
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    rows[i] = static_cast<const uint16_t*>(p.weight.data) +
              int64_t{i * outputs + first_output + g} * stride + t * 16;
  }
  SliceWeights<kTiles, kAhead> weights;
  weights.Load(rows, int64_t{8} * stride, begin, end);
  const int first_row = static_cast<int>(blockIdx.y) * kRows;
  const int count = min(*p.count - first_row, kRows);
  const bool aligned = RowsAligned(p);
  const float* x[kRowTiles];
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
    x[r] = r * 8 + g < count
               ? p.x + RowAt(p.in_rows, first_row + r * 8 + g) * p.x_stride
               : nullptr;
  }

  WaitForEarlier();
  if (count <= 0) return;
  NormStatistics statistics[kRowTiles];
  if (p.normed) {
    NormStatistics all[kRows];
    BlockNormStatistics<kRows>(
        count,
        [&](int m) {
          return p.x + RowAt(p.in_rows, first_row + m) * p.x_stride;
        },
        p.weight.cols, p.norm, norm_part, all);
    if (threadIdx.x == 0) {
#pragma unroll
      for (int m = 0; m < kRows; ++m) norm_of[m] = all[m];
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) statistics[r] = norm_of[r * 8 + g];
  }

  float sums[kTiles][kRowTiles][4] = {};
  for (int chunk = begin; chunk < end; chunk += kAhead) {
    if (chunk > begin) {
      weights.Load(rows, int64_t{8} * stride, chunk, end);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (chunk + i >= end) break;
      const int column = (chunk + i) * kChunk + t * 16;
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        uint32_t left[8] = {};
        if (x[r] != nullptr) {
#pragma unroll
          for (int q = 0; q < 4; ++q) {
            const float4 v =
                LeftFour(p, x[r], statistics[r], column + 4 * q, aligned);
            left[2 * q] = Round2<T>(v.x, v.y);
            left[2 * q + 1] = Round2<T>(v.z, v.w);
          }
        }
#pragma unroll
        for (int tile_index = 0; tile_index < kTiles; ++tile_index) {
          MultiplyChunk<T>(sums[tile_index][r], weights.top[tile_index][i],
                           weights.bottom[tile_index][i], left);
        }
      }
    }
  }

#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      const int row = r * 8 + 2 * t;
      const int output = i * kOutputs + g;
      part[slice][row][output] = sums[i][r][0];
      part[slice][row + 1][output] = sums[i][r][1];
      part[slice][row][output + 8] = sums[i][r][2];
      part[slice][row + 1][output + 8] = sums[i][r][3];
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kOutputs;
       i += kNormThreads) {
    const int row = i / kOutputs;
    const int output = i % kOutputs;
    if (row >= count || first_output + output >= outputs) continue;
    float s[kTiles];
#pragma unroll
    for (int k = 0; k < kTiles; ++k) {
      float slices[kSlices];
#pragma unroll
      for (int j = 0; j < kSlices; ++j) {
        slices[j] = part[j][row][k * kOutputs + output];
      }
      s[k] = AddSlices(slices);
    }
    FinishOne(p.finish, RowAt(p.out_rows, first_row + row),
              first_output + output, s[0], s[kTiles - 1]);
  }
}

template <typename T, int kRowTiles, int kTiles>
cudaError_t LaunchAhead(const ProductSet& set, const LaunchShape& shape) {
  // Two chunks a slice fill the registers of a block for up to 1024 inputs;
  // wider matrices keep more in flight.
  const bool wide =
      kTiles == 1 && set.products[0].weight.stride > 2 * kSlices * kChunk;
  return wide ? Launch(shape, SmallProduct<T, kRowTiles, kTiles, 4>, set)
              : Launch(shape, SmallProduct<T, kRowTiles, kTiles, 2>, set);
}

template <typename T>
cudaError_t LaunchTyped(const ProductSet& set, bool swiglu, int row_tiles,
                        const LaunchShape& shape) {
  if (row_tiles == 1) {
    return swiglu ? LaunchAhead<T, 1, 2>(set, shape)
                  : LaunchAhead<T, 1, 1>(set, shape);
  }
  return swiglu ? LaunchAhead<T, 2, 2>(set, shape)
                : LaunchAhead<T, 2, 1>(set, shape);
}

}  // namespace

cudaError_t LaunchSmall(ProductSet set, const ProductLaunch& launch) {
  const bool swiglu = set.products[0].finish.kind == Finish::kSwiglu;
  const auto tiles = [swiglu](const Product& p) {
    return Blocks(swiglu ? p.weight.rows / 2 : p.weight.rows, kOutputs);
  };
  set.first_tiles = static_cast<int32_t>(tiles(set.products[0]));
  const unsigned second = set.pair ? tiles(set.products[1]) : 0;
  const int row_tiles = launch.max_rows <= 8 ? 1 : 2;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(set.first_tiles) + second,
                    Blocks(launch.max_rows, row_tiles * 8));
  shape.block = dim3(kNormThreads);
  shape.overlap = launch.overlap;
  shape.stream = launch.stream;
  return set.products[0].weight.dtype == DType::kBF16
             ? LaunchTyped<__nv_bfloat16>(set, swiglu, row_tiles, shape)
             : LaunchTyped<__half>(set, swiglu, row_tiles, shape);
}

}  // namespace chela::cuda
