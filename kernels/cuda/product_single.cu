// Products of one row: the shortest way from the row to the finish. The same
// slices, instructions and tree as product_wide.cu, so the same bits.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/product_kernels.h"
#include "kernels/cuda/product_math.cuh"

namespace chela::cuda {
namespace {

constexpr int kOutputs = 16;
constexpr int kThreads = 256;  // a warp for each slice
constexpr int kGroup = 128;    // inputs that a warp reads at once
constexpr int kMaxGroups = kMaxSingleInputs / kSlices / kGroup;
constexpr int kMaxNormGroups = 2;  // of a slice, of normed rows

// Of a slice of a normed row, when a row has that many.
template <int kGroups>
inline constexpr int kNormGroupsOf =
    kGroups < kMaxNormGroups ? kGroups : kMaxNormGroups;

// A warp's own inputs of the row: four a lane of each group.
template <int kGroups>
struct SliceInputs {
  __device__ __forceinline__ void Load(const float* x, int begin, int end) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
      const int column = begin + j * kGroup + 4 * lane;
      v[j] = make_float4(0, 0, 0, 0);
      if (column < end)
        v[j] = __ldcg(reinterpret_cast<const float4*>(x + column));
    }
  }
  float4 v[kGroups];
};

// 1 / rms of the row whose slices the warps hold: WarpNormStatistics's sums.
template <int kGroups>
__device__ __forceinline__ float RowScale(const Product& p,
                                          const SliceInputs<kGroups>& inputs,
                                          float (*squares)[32]) {
  const int slice = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  constexpr int kNormGroups = kNormGroupsOf<kGroups>;
  const int groups = p.weight.cols / kGroup / kSlices;
#pragma unroll
  for (int j = 0; j < kNormGroups; ++j) {
    if (j < groups) {
      squares[slice * groups + j][lane] = SumOfFour(
          inputs.v[j], [](float x, float sum) { return fmaf(x, x, sum); });
    }
  }
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kNormGroups * kSlices; ++i) {
    if (i < groups * kSlices) sum += squares[i][lane];
  }
  return 1.0f /
         sqrtf(WarpSum(sum) / static_cast<float>(p.weight.cols) + p.norm.eps);
}

// Tiles of 16 outputs that end together.
template <Finish kFinish>
inline constexpr int kTilesOf = kFinish == Finish::kSwiglu ? 2 : 1;

template <typename T, Finish kFinish, int kAhead, int kGroups>
__global__ void __launch_bounds__(kThreads,
                                  kTilesOf<kFinish>* kAhead <= 2 ? 4 : 2)
    SingleProduct(const __grid_constant__ ProductSet set) {
  constexpr int kTiles = kTilesOf<kFinish>;
  __shared__ __align__(16) uint16_t left[kGroups * kGroup * kSlices];
  constexpr int kNormGroups = kNormGroupsOf<kGroups>;
  __shared__ float squares[kNormGroups * kSlices][32];
  __shared__ float part[kSlices][kTiles * kOutputs];

  const bool second = static_cast<int>(blockIdx.x) >= set.first_tiles;
  const Product& p = set.products[second ? 1 : 0];
  FinishArguments ending = p.finish;
  ending.kind = kFinish;  // known here: one end's code, not all
  const int tile =
      static_cast<int>(blockIdx.x) - (second ? set.first_tiles : 0);
  const int thread = static_cast<int>(threadIdx.x);
  const int slice = thread / 32;
  const int lane = thread % 32;
  const int g = lane / 4;
  const int t = lane % 4;
  const int stride = p.weight.stride;
  const int outputs = p.weight.rows / kTiles;
  const int output = tile * kOutputs + thread;
  const bool finishes = thread < kOutputs && output < outputs;
  const int begin = SliceBegin(stride, slice);
  const int end = SliceBegin(stride, slice + 1);

  LetLaterStart();
  const uint16_t* rows[kTiles];
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    rows[i] = static_cast<const uint16_t*>(p.weight.data) +
              int64_t{i * outputs + tile * kOutputs + g} * stride + t * 8;
  }
  SliceWeights<kTiles, kAhead> weights;
  weights.Load(rows, int64_t{8} * stride, begin, end);
  float4 norm_weight[kNormGroups] = {};
  if (p.normed) {
#pragma unroll
    for (int j = 0; j < kNormGroups; ++j) {
      const int column = begin * kChunk + j * kGroup + 4 * lane;
      if (column < end * kChunk) {
        norm_weight[j] =
            *reinterpret_cast<const float4*>(p.norm.weight + column);
      }
    }
  }
  const float* const x = p.x + RowAt(p.in_rows, 0) * p.x_stride;
  const int64_t out_row = RowAt(p.out_rows, 0);
  const bool exists = *p.count > 0;
  const float bias = finishes ? LoadBias(ending, output) : 0.0f;

  WaitForEarlier();
  if (!exists) return;
  SliceInputs<kGroups> inputs;
  inputs.Load(x, begin * kChunk, end * kChunk);
  FinishInputs finish;
  if (finishes) finish = LoadFinishInputs(ending, out_row, output, bias);
  if (p.normed) {
    const float scale = RowScale(p, inputs, squares);
#pragma unroll
    for (int j = 0; j < kNormGroups; ++j) {
      float4& v = inputs.v[j];
      v.x = v.x * scale * norm_weight[j].x;
      v.y = v.y * scale * norm_weight[j].y;
      v.z = v.z * scale * norm_weight[j].z;
      v.w = v.w * scale * norm_weight[j].w;
    }
  }
#pragma unroll
  for (int j = 0; j < kGroups; ++j) {
    const int column = begin * kChunk + j * kGroup + 4 * lane;
    const float4& v = inputs.v[j];
    if (column < end * kChunk) {
      *reinterpret_cast<uint2*>(left + column) =
          make_uint2(Round2<T>(v.x, v.y), Round2<T>(v.z, v.w));
    }
  }
  __syncwarp();  // a warp reads what it wrote itself

  float sums[kTiles][4] = {};
  for (int chunk = begin; chunk < end; chunk += kAhead) {
    if (chunk > begin) weights.Load(rows, int64_t{8} * stride, chunk, end);
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (chunk + i >= end) break;
      uint4 low = make_uint4(0, 0, 0, 0);
      uint4 high = low;
      if (g == 0) {
        const uint4* from =
            reinterpret_cast<const uint4*>(left + (chunk + i) * kChunk + t * 8);
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

  if (t == 0) {  // row 0 of a tile
#pragma unroll
    for (int k = 0; k < kTiles; ++k) {
      part[slice][k * kOutputs + g] = sums[k][0];
      part[slice][k * kOutputs + g + 8] = sums[k][2];
    }
  }
  __syncthreads();
  if (!finishes) return;
  float s[kTiles];
#pragma unroll
  for (int k = 0; k < kTiles; ++k) {
    float slices[kSlices];
#pragma unroll
    for (int j = 0; j < kSlices; ++j)
      slices[j] = part[j][k * kOutputs + thread];
    s[k] = AddSlices(slices);
  }
  ending.out[out_row * ending.out_stride + output] =
      FinishValue(ending, finish, s[0], s[kTiles - 1]);
}

bool Takes(const Product& p) {
  const bool full = p.weight.cols == p.weight.stride && p.x_stride % 4 == 0 &&
                    reinterpret_cast<uintptr_t>(p.x) % 16 == 0 &&
                    p.weight.cols <= kMaxSingleInputs;
  if (!p.normed) return full;
  return full && p.norm.kind == NormKind::kRms &&
         p.weight.cols % (kGroup * kSlices) == 0 &&
         p.weight.cols <= kMaxNormGroups * kGroup * kSlices &&
         reinterpret_cast<uintptr_t>(p.norm.weight) % 16 == 0;
}

template <typename T, Finish kFinish>
cudaError_t LaunchGroups(const ProductSet& set, const LaunchShape& shape) {
  constexpr int kMore = 4 / kTilesOf<kFinish>;  // chunks ahead
  switch (Blocks(set.products[0].weight.stride, kGroup * kSlices)) {
    case 1:
      return Launch(shape, SingleProduct<T, kFinish, 2, 1>, set);
    case 2:
      return Launch(shape, SingleProduct<T, kFinish, kMore, 2>, set);
    default:
      return Launch(shape, SingleProduct<T, kFinish, kMore, kMaxGroups>, set);
  }
}

template <typename T>
cudaError_t LaunchTyped(const ProductSet& set, const LaunchShape& shape) {
  switch (set.products[0].finish.kind) {
    case Finish::kStore:
      return LaunchGroups<T, Finish::kStore>(set, shape);
    case Finish::kResidual:
      return LaunchGroups<T, Finish::kResidual>(set, shape);
    case Finish::kGated:
      return LaunchGroups<T, Finish::kGated>(set, shape);
    case Finish::kSilu:
      return LaunchGroups<T, Finish::kSilu>(set, shape);
    case Finish::kSwiglu:
      return LaunchGroups<T, Finish::kSwiglu>(set, shape);
  }
  return cudaErrorInvalidValue;
}

}  // namespace

bool SingleTakes(const ProductSet& set) {
  return Takes(set.products[0]) && (!set.pair || Takes(set.products[1]));
}

cudaError_t LaunchSingle(ProductSet set, const ProductLaunch& launch) {
  const bool swiglu = set.products[0].finish.kind == Finish::kSwiglu;
  const auto tiles = [swiglu](const Product& p) {
    return Blocks(swiglu ? p.weight.rows / 2 : p.weight.rows, kOutputs);
  };
  set.first_tiles = static_cast<int32_t>(tiles(set.products[0]));
  const unsigned second = set.pair ? tiles(set.products[1]) : 0;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(set.first_tiles) + second);
  shape.block = dim3(kThreads);
  shape.overlap = launch.overlap;
  shape.stream = launch.stream;
  return set.products[0].weight.dtype == DType::kBF16
             ? LaunchTyped<__nv_bfloat16>(set, shape)
             : LaunchTyped<__half>(set, shape);
}

}  // namespace chela::cuda
