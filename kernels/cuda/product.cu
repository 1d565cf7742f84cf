// Products of float32 weights, the statistics of norms, roundings, and the
// choice of a kernel.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/product_kernels.h"
#include "kernels/cuda/product_math.cuh"

namespace chela::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kFloatRows = 4;  // of the left operand, a warp

// A warp has one row.
__global__ void __launch_bounds__(kThreads)
    Statistics(const __grid_constant__ Product p, NormStatistics* out) {
  LetLaterStart();
  WaitForEarlier();
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x) / 32;
  if (i >= *p.count) return;
  const NormStatistics statistics = WarpNormStatistics(
      p.x + RowAt(p.in_rows, i) * p.x_stride, p.weight.cols, p.norm);
  if (threadIdx.x % 32 == 0) out[i] = statistics;
}

// A warp owns one output for kFloatRows rows.
template <bool kSwiglu>
__global__ void __launch_bounds__(256)
    FloatProduct(const __grid_constant__ Product p) {
  LetLaterStart();
  WaitForEarlier();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int outputs = kSwiglu ? p.weight.rows / 2 : p.weight.rows;
  const int output =
      static_cast<int>(blockIdx.x) * 8 + static_cast<int>(threadIdx.x) / 32;
  const int first = static_cast<int>(blockIdx.y) * kFloatRows;
  const int count = min(*p.count - first, kFloatRows);
  if (output >= outputs || count <= 0) return;
  constexpr int kTiles = kSwiglu ? 2 : 1;
  const bool aligned = RowsAligned(p);
  float sums[kTiles][kFloatRows] = {};
  for (int column = lane * 4; column < p.weight.stride; column += 128) {
    float4 w[kTiles];
#pragma unroll
    for (int k = 0; k < kTiles; ++k) {
      w[k] = __ldg(reinterpret_cast<const float4*>(
          static_cast<const float*>(p.weight.data) +
          int64_t{k * outputs + output} * p.weight.stride + column));
    }
#pragma unroll
    for (int r = 0; r < kFloatRows; ++r) {
      if (r >= count) break;
      NormStatistics statistics;
      if (p.normed) statistics = p.statistics[first + r];
      const float4 v =
          LeftFour(p, p.x + RowAt(p.in_rows, first + r) * p.x_stride,
                   statistics, column, aligned);
#pragma unroll
      for (int k = 0; k < kTiles; ++k) {
        float s = sums[k][r];
        s = fmaf(w[k].x, v.x, s);
        s = fmaf(w[k].y, v.y, s);
        s = fmaf(w[k].z, v.z, s);
        sums[k][r] = fmaf(w[k].w, v.w, s);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kFloatRows; ++r) {
    if (r >= count) break;
    const float s = WarpSum(sums[0][r]);
    const float s2 = kSwiglu ? WarpSum(sums[kTiles - 1][r]) : 0.0f;
    if (lane == 0) {
      FinishOne(p.finish, RowAt(p.out_rows, first + r), output, s, s2);
    }
  }
}

__device__ __forceinline__ void LoadNorm(const Norm& norm, int column,
                                         float4* weights, float4* biases) {
  const float* const w = norm.weight + column;
  *weights = make_float4(w[0], w[1], w[2], w[3]);
  if (norm.kind != NormKind::kLayer) return;
  const float* const b = norm.bias + column;
  *biases = make_float4(b[0], b[1], b[2], b[3]);
}
__device__ __forceinline__ float4 Normalize(const Norm& norm,
                                            const NormStatistics& statistics,
                                            float4 x, float4 weights,
                                            float4 biases) {
  const auto one = [&](float value, float weight, float bias) {
    const float y = (value - statistics.mean) * statistics.scale * weight;
    return norm.kind == NormKind::kLayer ? y + bias : y;
  };
  return make_float4(
      one(x.x, weights.x, biases.x), one(x.y, weights.y, biases.y),
      one(x.z, weights.z, biases.z), one(x.w, weights.w, biases.w));
}
template <typename T>
__device__ __forceinline__ void StoreFour(uint16_t* to, float4 v) {
  *reinterpret_cast<uint2*>(to) =
      make_uint2(Round2<T>(v.x, v.y), Round2<T>(v.z, v.w));
}

// A block rounds one row; each of its warps takes the statistics for itself.
// Row i of a dense range, or the i-th of the listed ones that exist.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    Round(const __grid_constant__ Product p, int first_row, uint16_t* left) {
  LetLaterStart();
  const int i = static_cast<int>(blockIdx.x);
  const bool exists = p.count == nullptr || i < *p.count;
  const bool aligned = RowsAligned(p);
  int column = static_cast<int>(threadIdx.x) * 4;
  const bool whole = aligned && column + 4 <= p.weight.cols;
  const float* x = p.x;
  float4 weights = {};
  float4 biases = {};
  if (exists) {
    x += RowAt(p.in_rows, first_row + i) * p.x_stride;
    if (p.normed && whole) LoadNorm(p.norm, column, &weights, &biases);
  }
  WaitForEarlier();
  if (!exists) return;
  float4 first = {};
  if (whole) first = __ldcg(reinterpret_cast<const float4*>(x + column));
  NormStatistics statistics;
  if (p.normed) statistics = WarpNormStatistics(x, p.weight.cols, p.norm);
  uint16_t* const out = left + int64_t{i} * p.weight.stride;
  if (whole) {  // the only round of rows up to 1,024 wide
    if (p.normed) first = Normalize(p.norm, statistics, first, weights, biases);
    StoreFour<T>(out + column, first);
    column += kThreads * 4;
  }
  for (; column < p.weight.stride; column += kThreads * 4) {
    StoreFour<T>(out + column, LeftFour(p, x, statistics, column, aligned));
  }
}

int Outputs(const WeightView& weight, Finish finish) {
  return finish == Finish::kSwiglu ? weight.rows / 2 : weight.rows;
}

cudaError_t LaunchStatistics(Product* product, const ProductLaunch& launch) {
  LaunchShape shape;
  shape.grid = dim3(Blocks(launch.max_rows, kThreads / 32));
  shape.block = dim3(kThreads);
  shape.overlap = launch.overlap;
  shape.stream = launch.stream;
  product->statistics = launch.statistics;
  return Launch(shape, Statistics, *product, launch.statistics);
}

// Rounds what nobody has rounded yet.
cudaError_t RoundLeft(Product* product, int index,
                      const ProductLaunch& launch) {
  if (product->rounded != nullptr) return cudaSuccess;
  uint16_t* const left =
      launch.left + int64_t{index} * launch.max_rows * product->weight.stride;
  const cudaError_t error = LaunchRound(*product, 0, launch.max_rows, left,
                                        launch.overlap, launch.stream);
  product->rounded = left;
  product->in_rows = nullptr;
  return error;
}

cudaError_t LaunchSet(ProductSet set, const ProductLaunch& launch) {
  if (launch.max_rows == 1 && SingleTakes(set)) {
    return LaunchSingle(set, launch);
  }
  for (int i = 0; i < (set.pair ? 2 : 1); ++i) {
    const cudaError_t error = RoundLeft(&set.products[i], i, launch);
    if (error != cudaSuccess) return error;
  }
  return ResidentTakes(set, launch) ? LaunchResident(set, launch)
                                    : LaunchWide(set, launch);
}

}  // namespace

cudaError_t LaunchFloat(const Product& product, const ProductLaunch& launch) {
  LaunchShape shape;
  const Finish finish = product.finish.kind;
  shape.grid = dim3(Blocks(Outputs(product.weight, finish), 8),
                    Blocks(launch.max_rows, kFloatRows));
  shape.block = dim3(256);
  shape.overlap = launch.overlap;
  shape.stream = launch.stream;
  return finish == Finish::kSwiglu
             ? Launch(shape, FloatProduct<true>, product)
             : Launch(shape, FloatProduct<false>, product);
}

cudaError_t Launch(const Product& product, const ProductLaunch& launch) {
  ProductSet set;
  set.products[0] = product;
  if (product.weight.dtype != DType::kF32) return LaunchSet(set, launch);
  if (product.normed) {
    const cudaError_t error = LaunchStatistics(&set.products[0], launch);
    if (error != cudaSuccess) return error;
  }
  return LaunchFloat(set.products[0], launch);
}

cudaError_t LaunchPair(const Product& first, const Product& second,
                       const ProductLaunch& launch) {
  const DType dtype = first.weight.dtype;
  if (dtype == DType::kF32 || second.weight.dtype != dtype || first.normed ||
      second.normed || first.weight.stride != second.weight.stride ||
      first.finish.kind != second.finish.kind) {
    const cudaError_t error = Launch(first, launch);
    return error != cudaSuccess ? error : Launch(second, launch);
  }
  ProductSet set;
  set.products[0] = first;
  set.products[1] = second;
  set.pair = true;
  return LaunchSet(set, launch);
}

cudaError_t LaunchRound(const Product& product, int32_t first_row, int32_t rows,
                        void* left, bool overlap, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(rows));
  shape.block = dim3(kThreads);
  shape.overlap = overlap;
  shape.stream = stream;
  auto* const to = static_cast<uint16_t*>(left);
  return product.weight.dtype == DType::kBF16
             ? Launch(shape, Round<__nv_bfloat16>, product, first_row, to)
             : Launch(shape, Round<__half>, product, first_row, to);
}

}  // namespace chela::cuda
