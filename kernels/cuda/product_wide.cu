// Products of any rows: a block owns 16 or 32 outputs for up to 64 rows, each
// of its 8 warps one slice of the inputs. Weights stream through shared memory,
// the left operand, rounded by whoever made it, comes straight from the
// second-level cache into the tensor cores' registers.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/product_kernels.h"
#include "kernels/cuda/product_tiles.cuh"

namespace chela::cuda {
namespace {

constexpr int kThreads = 256;
// Blocks of a multiprocessor, by the instructions that share a load of weights
// or of the left operand: what the registers hold.
template <int kInstructions>
inline constexpr int kBlocksOf = kInstructions == 1   ? 4
                                 : kInstructions == 2 ? 3
                                                      : 2;

template <typename T, int kTiles, int kRowTiles, int kStages, Finish kFinish>
__global__ void __launch_bounds__(kThreads, kBlocksOf<kTiles * kRowTiles>)
    WideProduct(const __grid_constant__ ProductSet set) {
  using Ring = WeightRing<kTiles, kStages>;
  constexpr bool kSwiglu = kFinish == Finish::kSwiglu;
  constexpr int kRows = kRowTiles * 8;
  constexpr int kOutputs = kTiles * kTile;
  constexpr int kPitch = kOutputs + 4;  // of a row of sums; spreads the banks
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ BlockRows<kRows> rows;

  const bool second = static_cast<int>(blockIdx.x) >= set.first_tiles;
  const Product& p = set.products[second ? 1 : 0];
  const int block =
      static_cast<int>(blockIdx.x) - (second ? set.first_tiles : 0);
  FinishArguments ending = p.finish;
  ending.kind = kFinish;  // known here: one end's code, not all
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
  const int count = rows.List(p);
  // A thread finishes one output of every kRowStep-th row. Half warps take
  // rows four apart, whose sums lie in the other half of the banks.
  constexpr int kRowStep = kThreads / kOwn;
  constexpr int kRounds = (kRows + kRowStep - 1) / kRowStep;
  const int own = thread % kOwn;
  const int own_row =
      kOwn == 32 ? slice : slice / 4 * 8 + slice % 4 + lane / 16 * 4;
  const int output = block * kOwn + own;
  const float bias = output < outputs ? LoadBias(ending, output) : 0.0f;
  __syncthreads();
  const uint16_t* left[kRowTiles];
  if (count > 0) {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      left[r] = static_cast<const uint16_t*>(p.rounded) +
                int64_t{rows.in[r * 8 + g]} * stride + t * 8;
    }
  }

  WaitForEarlier();
  if (count <= 0) {
    WaitForCopies<0>();
    return;
  }
  float sums[kTiles][kRowTiles][4] = {};
  // One half is multiplied while the next one is on its way.
  LeftHalf<kRowTiles> first;
  LeftHalf<kRowTiles> last;
  constexpr bool kAhead = kRowTiles <= 4;  // more would not fit the registers
  if (kAhead && begin < end) first.Load(left, begin, 0);
  // All that a thread finishes with is asked for at once.
  FinishInputs inputs[kRounds];
  const auto ask = [&] {
#pragma unroll
    for (int j = 0; j < kRounds; ++j) {
      const int m = own_row + j * kRowStep;
      if (m < count && output < outputs) {
        inputs[j] = LoadFinishInputs(ending, rows.out[m], output, bias);
      }
    }
  };
  if (kAhead) ask();
  for (int chunk = begin; chunk < end; ++chunk) {
    if (kAhead) {
      last.Load(left, chunk, 1);
    } else {
      first.Load(left, chunk, 0);
    }
    WaitForCopies<kStages - 1>();
    __syncwarp();  // a warp reads what its own lanes asked for
    MultiplyHalf<T, kTiles, kRowTiles>(ring, chunk, begin, 0, first, sums);
    if (!kAhead) {
      last.Load(left, chunk, 1);
    } else if (chunk + 1 < end) {
      first.Load(left, chunk + 1, 0);
    }
    MultiplyHalf<T, kTiles, kRowTiles>(ring, chunk, begin, 1, last, sums);
    __syncwarp();
    ring.Ask(chunk + kStages, begin, end);
  }
  WaitForCopies<0>();
  __syncthreads();  // the sums take the weights' place

  float* const part = reinterpret_cast<float*>(memory);
  PutSums<kPitch>(part + slice * kRows * kPitch, sums);
  if (!kAhead) ask();
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kRounds; ++j) {
    const int m = own_row + j * kRowStep;
    if (m >= count || output >= outputs) break;
    float slices[kSlices];
    float other[kSlices];
#pragma unroll
    for (int i = 0; i < kSlices; ++i) {
      const float* const from = part + (i * kRows + m) * kPitch + own;
      slices[i] = from[0];
      if constexpr (kSwiglu) other[i] = from[kTile];
    }
    StoreFinished<T>(ending, rows.out[m], output,
                     FinishValue(ending, inputs[j], AddSlices(slices),
                                 kSwiglu ? AddSlices(other) : 0.0f));
  }
}

template <typename T, int kTiles, int kRowTiles, int kStages, Finish kFinish>
cudaError_t LaunchOf(ProductSet set, LaunchShape shape, int32_t max_rows) {
  constexpr int kRows = kRowTiles * 8;
  constexpr bool kSwiglu = kFinish == Finish::kSwiglu;
  constexpr int kOwn = kSwiglu ? kTile : kTiles * kTile;
  const auto tiles = [](const Product& p) {
    return Blocks(kSwiglu ? p.weight.rows / 2 : p.weight.rows, kOwn);
  };
  set.first_tiles = static_cast<int32_t>(tiles(set.products[0]));
  const unsigned second = set.pair ? tiles(set.products[1]) : 0;
  shape.grid = dim3(static_cast<unsigned>(set.first_tiles) + second,
                    Blocks(max_rows, kRows));
  constexpr size_t kRing = kSlices * WeightRing<kTiles, kStages>::kBytes;
  constexpr size_t kSums =
      sizeof(float) * kSlices * kRows * (kTiles * kTile + 4);
  shape.shared_bytes = kRing > kSums ? kRing : kSums;
  return Launch(shape, WideProduct<T, kTiles, kRowTiles, kStages, kFinish>,
                set);
}

template <typename T, int kTiles, int kRowTiles, Finish kFinish>
cudaError_t LaunchRows(const ProductSet& set, const LaunchShape& shape,
                       int32_t max_rows) {
  // Slices of two chunks are wholly under way with two stages.
  return set.products[0].weight.stride <= 2 * kSlices * kChunk
             ? LaunchOf<T, kTiles, kRowTiles, 2, kFinish>(set, shape, max_rows)
             : LaunchOf<T, kTiles, kRowTiles, 4, kFinish>(set, shape, max_rows);
}

template <typename T, Finish kFinish>
cudaError_t LaunchTiles(const ProductSet& set, const LaunchShape& shape,
                        const ProductLaunch& launch) {
  constexpr int kLeastTiles = kFinish == Finish::kSwiglu ? 2 : 1;
  const int rows = launch.max_rows;
  if (rows <= 8) {
    return LaunchRows<T, kLeastTiles, 1, kFinish>(set, shape, rows);
  }
  if (rows <= 16) {
    return LaunchRows<T, kLeastTiles, 2, kFinish>(set, shape, rows);
  }
  // Blocks of twice the outputs read the left operand half as often, and of
  // twice the rows the weights: where enough multiprocessors have one.
  const int64_t outputs = set.products[0].weight.rows +
                          (set.pair ? set.products[1].weight.rows : 0);
  const int64_t enough = int64_t{2} * kTile * launch.processors;
  if (rows > 32 && outputs >= enough) {
    return LaunchRows<T, 2, 8, kFinish>(set, shape, rows);
  }
  return 4 * outputs * Blocks(rows, 32) >= 3 * enough
             ? LaunchRows<T, 2, 4, kFinish>(set, shape, rows)
             : LaunchRows<T, kLeastTiles, 4, kFinish>(set, shape, rows);
}

template <typename T>
cudaError_t LaunchTyped(const ProductSet& set, const LaunchShape& shape,
                        const ProductLaunch& launch) {
  switch (set.products[0].finish.kind) {
    case Finish::kStore:
      return LaunchTiles<T, Finish::kStore>(set, shape, launch);
    case Finish::kResidual:
      return LaunchTiles<T, Finish::kResidual>(set, shape, launch);
    case Finish::kGated:
      return LaunchTiles<T, Finish::kGated>(set, shape, launch);
    case Finish::kSilu:
      return LaunchTiles<T, Finish::kSilu>(set, shape, launch);
    case Finish::kSwiglu:
      return LaunchTiles<T, Finish::kSwiglu>(set, shape, launch);
  }
  return cudaErrorInvalidValue;
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
