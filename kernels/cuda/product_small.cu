// Products of up to 8 rows: a block owns 16 outputs (32 for kSwiglu), each of
// its 8 warps one slice of the inputs.
//
// Per warp and chunk of 64 inputs, lane (g, t) = (lane / 4, lane % 4) loads 16
// neighbouring inputs of outputs g and g + 8 straight into the registers that
// the tensor cores read, so that every request is whole 32-byte sectors; row g
// of the left operand is read likewise, from shared memory, where the block
// has rounded it. What the pairing of inputs to the instruction's positions is
// does not matter as long as both sides agree.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/product_kernels.h"
#include "kernels/cuda/product_math.cuh"

namespace chela::cuda {
namespace {

constexpr int kOutputs = 16;
constexpr int kRows = 8;
constexpr int kThreads = 256;  // a warp for each slice, and for each row's norm
// 16-bit elements that a staged row is longer than the weight's: spreads the
// banks over rows.
constexpr int kLeftPad = 8;

// Rounds `count` rows of the left operand into shared memory, zeros from the
// weight's columns to its stride.
template <typename T>
__device__ __forceinline__ void StageRows(const Product& p, int first_row,
                                          int count,
                                          const NormStatistics* statistics,
                                          uint16_t* left) {
  const int stride = p.weight.stride;
  const bool aligned = RowsAligned(p);
  const bool full = aligned && stride == p.weight.cols;
  for (int m = 0; m < count; ++m) {
    const float* x = p.x + RowAt(p.in_rows, first_row + m) * p.x_stride;
    const NormStatistics statistics_of = statistics[m];
    uint16_t* to = left + m * (stride + kLeftPad);
    const int column = static_cast<int>(threadIdx.x) * 4;
    if (full) {
#pragma unroll 4
      for (int j = column; j < stride; j += kThreads * 4) {
        const float4 v = NormedFour(p, *reinterpret_cast<const float4*>(x + j),
                                    statistics_of, j);
        *reinterpret_cast<uint2*>(to + j) =
            make_uint2(Round2<T>(v.x, v.y), Round2<T>(v.z, v.w));
      }
    } else {
      for (int j = column; j < stride; j += kThreads * 4) {
        const float4 v = LeftFour(p, x, statistics_of, j, aligned);
        *reinterpret_cast<uint2*>(to + j) =
            make_uint2(Round2<T>(v.x, v.y), Round2<T>(v.z, v.w));
      }
    }
  }
}

template <typename T, int kTiles, int kAhead>
__global__ void __launch_bounds__(kThreads, kTiles* kAhead <= 2 ? 4 : 2)
    SmallProduct(const __grid_constant__ ProductSet set) {
  constexpr int kPitch = kTiles * kOutputs + 4;     // spreads the banks
  extern __shared__ __align__(16) uint16_t left[];  // [max_rows, stride + pad]
  __shared__ float part[kSlices][kRows][kPitch];
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
              int64_t{i * outputs + first_output + g} * stride + t * 8;
  }
  SliceWeights<kTiles, kAhead> weights;
  weights.Load(rows, int64_t{8} * stride, begin, end);
  const int first_row = static_cast<int>(blockIdx.y) * kRows;
  const int count = min(*p.count - first_row, kRows);

  WaitForEarlier();
  if (count <= 0) return;
  if (p.normed) {
    const int row = slice;
    if (row < count) {
      const NormStatistics statistics = WarpNormStatistics(
          p.x + RowAt(p.in_rows, first_row + row) * p.x_stride, p.weight.cols,
          p.norm);
      if (lane == 0) norm_of[row] = statistics;
    }
    __syncthreads();
  }
  StageRows<T>(p, first_row, count, norm_of, left);
  __syncthreads();

  float sums[kTiles][4] = {};
  const uint16_t* const lane_left = left + g * (stride + kLeftPad) + t * 8;
  for (int chunk = begin; chunk < end; chunk += kAhead) {
    if (chunk > begin) weights.Load(rows, int64_t{8} * stride, chunk, end);
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (chunk + i >= end) break;
      uint4 low = make_uint4(0, 0, 0, 0);
      uint4 high = low;
      if (g < count) {
        const uint4* from =
            reinterpret_cast<const uint4*>(lane_left + (chunk + i) * kChunk);
        low = from[0];
        high = from[kChunk / 2 / 8];
      }
#pragma unroll
      for (int k = 0; k < kTiles; ++k) {
        MultiplyChunk<T>(sums[k], weights.top[k][i], weights.bottom[k][i], low,
                         high);
      }
    }
  }

#pragma unroll
  for (int k = 0; k < kTiles; ++k) {
    const int output = k * kOutputs + g;
    part[slice][2 * t][output] = sums[k][0];
    part[slice][2 * t + 1][output] = sums[k][1];
    part[slice][2 * t][output + 8] = sums[k][2];
    part[slice][2 * t + 1][output + 8] = sums[k][3];
  }
  __syncthreads();
  const int row = static_cast<int>(threadIdx.x) / kOutputs;
  const int output = static_cast<int>(threadIdx.x) % kOutputs;
  if (row >= min(count, kRows) || first_output + output >= outputs) return;
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
  FinishOne(p.finish, RowAt(p.out_rows, first_row + row), first_output + output,
            s[0], s[kTiles - 1]);
}

template <typename T>
cudaError_t LaunchTyped(const ProductSet& set, bool swiglu,
                        const LaunchShape& shape) {
  // Two chunks a slice are all there is up to 1024 inputs, and let four blocks
  // share a multiprocessor; wider matrices keep more in flight.
  const bool wide = set.products[0].weight.stride > 2 * kSlices * kChunk;
  if (swiglu) return Launch(shape, SmallProduct<T, 2, 2>, set);
  return wide ? Launch(shape, SmallProduct<T, 1, 4>, set)
              : Launch(shape, SmallProduct<T, 1, 2>, set);
}

}  // namespace

cudaError_t LaunchSmall(ProductSet set, const ProductLaunch& launch) {
  const bool swiglu = set.products[0].finish.kind == Finish::kSwiglu;
  const auto tiles = [swiglu](const Product& p) {
    return Blocks(swiglu ? p.weight.rows / 2 : p.weight.rows, kOutputs);
  };
  set.first_tiles = static_cast<int32_t>(tiles(set.products[0]));
  const unsigned second = set.pair ? tiles(set.products[1]) : 0;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(set.first_tiles) + second,
                    Blocks(launch.max_rows, kRows));
  shape.block = dim3(kThreads);
  const int rows = launch.max_rows < kRows ? launch.max_rows : kRows;
  shape.shared_bytes = static_cast<size_t>(rows) *
                       (set.products[0].weight.stride + kLeftPad) *
                       sizeof(uint16_t);
  shape.overlap = launch.overlap;
  shape.stream = launch.stream;
  return set.products[0].weight.dtype == DType::kBF16
             ? LaunchTyped<__nv_bfloat16>(set, swiglu, shape)
             : LaunchTyped<__half>(set, swiglu, shape);
}

}  // namespace chela::cuda
