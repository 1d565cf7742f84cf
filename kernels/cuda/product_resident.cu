// Products of several rows with up to 1,024 inputs: a block holds its rows of
// the left operand in registers, each of its 8 warps one slice of the inputs,
// and streams tiles of outputs past them; they end as sums with a bias. The
// same slices, instructions and tree as product_wide.cu, so the same bits.
#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/product_kernels.h"
#include "kernels/cuda/product_tiles.cuh"

namespace chela::cuda {
namespace {

constexpr int kThreads = 256;
// Blocks of a multiprocessor: what the registers hold.
template <int kRowTiles>
inline constexpr int kBlocksOf = kRowTiles <= 4 ? 2 : 1;
constexpr int kChunks = 2;  // of a slice, at most

// A warp's own ring of kStages tiles of weights, its slice's chunks of each.
template <int kStages>
struct TileRing {
  static constexpr int kChunkBytes = kTile * kStagePitch;
  static constexpr int kStageBytes = kChunks * kChunkBytes;
  static constexpr int kBytes = kStages * kStageBytes;

  // Asks for a tile; a group of copies even if there is none.
  __device__ __forceinline__ void Ask(int tile, int last) const {
    if (tile < last) {
      const int lane = static_cast<int>(threadIdx.x) % 32;
      const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(
                              memory + tile % kStages * kStageBytes)) +
                          StagedAt(lane / 8, lane % 8 * 16);
      const uint16_t* const from = weights + int64_t{tile} * kTile * stride;
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        if (c >= chunks) break;
#pragma unroll
        for (int i = 0; i < kTile; i += 4) {
          CopyAsync(to + c * kChunkBytes + i * kStagePitch,
                    from + i * stride + c * kChunk);
        }
      }
    }
    CommitCopies();
  }

  // 16 bytes of a row of the tile.
  __device__ __forceinline__ uint4 At(int tile, int chunk, int row,
                                      int byte) const {
    return *reinterpret_cast<const uint4*>(
        memory + tile % kStages * kStageBytes + chunk * kChunkBytes +
        StagedAt(row, byte));
  }

  unsigned char* memory;
  const uint16_t* weights;  // row lane / 8 of the first, at this lane's part
  int64_t stride;
  int chunks;  // of the slice, kChunks at most
};

// A lane's part of its slice of the left operand's rows.
template <int kRowTiles>
struct LeftSlice {
  __device__ __forceinline__ void Load(const uint16_t* rounded,
                                       const int32_t* row_of, int stride,
                                       int begin, int chunks) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      const uint16_t* const from = rounded +
                                   int64_t{row_of[r * 8 + lane / 4]} * stride +
                                   begin * kChunk + lane % 4 * 8;
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        if (c >= chunks) break;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          b[c][half][r] = __ldcg(reinterpret_cast<const uint4*>(
              from + c * kChunk + half * (kChunk / 2)));
        }
      }
    }
  }
  uint4 b[kChunks][2][kRowTiles];
};

template <typename T, int kRowTiles, typename Ring>
__device__ __forceinline__ void MultiplyTile(const Ring& ring, int tile,
                                             const LeftSlice<kRowTiles>& left,
                                             float (&sums)[kRowTiles][4]) {
  const int g = static_cast<int>(threadIdx.x) % 32 / 4;
  const int t = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
  for (int c = 0; c < kChunks; ++c) {
    if (c >= ring.chunks) break;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int byte = half * kChunk + t * 16;
      const uint4 top = ring.At(tile, c, g, byte);
      const uint4 bottom = ring.At(tile, c, g + 8, byte);
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        const uint4& b = left.b[c][half][r];
        MultiplyAdd<T>(sums[r], top.x, bottom.x, top.y, bottom.y, b.x, b.y);
      }
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        const uint4& b = left.b[c][half][r];
        MultiplyAdd<T>(sums[r], top.z, bottom.z, top.w, bottom.w, b.z, b.w);
      }
    }
  }
}

constexpr int kPitch = kTile + 4;  // of a row of sums; spreads the banks

template <typename T, int kRowTiles, int kStages>
__global__ void __launch_bounds__(kThreads, kBlocksOf<kRowTiles>)
    ResidentProduct(const __grid_constant__ ProductSet set) {
  using Ring = TileRing<kStages>;
  constexpr int kRows = kRowTiles * 8;
  constexpr int kPart = kRows * kPitch;
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ BlockRows<kRows> rows;

  const bool second = static_cast<int>(blockIdx.x) >= set.first_tiles;
  const Product& p = set.products[second ? 1 : 0];
  const int block =
      static_cast<int>(blockIdx.x) - (second ? set.first_tiles : 0);
  const int thread = static_cast<int>(threadIdx.x);
  const int slice = thread / 32;
  const int lane = thread % 32;
  const int stride = p.weight.stride;
  const int outputs = p.weight.rows;
  const int blocks =
      second ? static_cast<int>(gridDim.x) - set.first_tiles : set.first_tiles;
  const int tiles = (outputs + kTile - 1) / kTile;
  const int first = static_cast<int>(int64_t{tiles} * block / blocks);
  const int last = static_cast<int>(int64_t{tiles} * (block + 1) / blocks);
  const int begin = SliceBegin(stride, slice);

  LetLaterStart();
  Ring ring;
  ring.memory = memory + slice * Ring::kBytes;
  ring.stride = stride;
  ring.chunks = SliceBegin(stride, slice + 1) - begin;
  ring.weights = static_cast<const uint16_t*>(p.weight.data) +
                 int64_t{lane / 8} * stride + begin * kChunk + lane % 8 * 8;
#pragma unroll
  for (int i = 0; i < kStages; ++i) ring.Ask(first + i, last);
  const int count = rows.List(p);
  // A thread finishes one output of every kRowStep-th row. The rows of a warp
  // are so far apart that their sums lie in different banks.
  constexpr int kRowStep = kThreads / kTile;
  constexpr int kRounds = (kRows + kRowStep - 1) / kRowStep;
  const int own = thread % kTile;
  const int own_row = slice / 4 * 8 + slice % 4 + lane / 16 * 4;
  __syncthreads();

  WaitForEarlier();
  if (count <= 0) {
    WaitForCopies<0>();
    return;
  }
  LeftSlice<kRowTiles> left;
  left.Load(static_cast<const uint16_t*>(p.rounded), rows.in, stride, begin,
            ring.chunks);
  float* const parts =
      reinterpret_cast<float*>(memory + kSlices * Ring::kBytes);
  // What the end of a tile takes is in registers before the first one.
  const float* const biases = p.finish.bias;
  float* out[kRounds];
#pragma unroll
  for (int j = 0; j < kRounds; ++j) {
    const int m = own_row + j * kRowStep;
    out[j] = m < count ? p.finish.out + rows.out[m] * p.finish.out_stride + own
                       : nullptr;
  }
  float bias = 0;
  const auto finish = [&](int tile) {
    if (tile * kTile + own >= outputs) return;
    const float* const part =
        parts + tile % 2 * kSlices * kPart + own_row * kPitch + own;
#pragma unroll
    for (int j = 0; j < kRounds; ++j) {
      if (out[j] == nullptr) break;
      float slices[kSlices];
#pragma unroll
      for (int i = 0; i < kSlices; ++i) {
        slices[i] = part[i * kPart + j * kRowStep * kPitch];
      }
      const float sum = AddSlices(slices);
      out[j][tile * kTile] = biases == nullptr ? sum : sum + bias;
    }
  };
  // The tensor cores work at a tile while the one before it is finished.
  for (int tile = first; tile < last; ++tile) {
    WaitForCopies<kStages - 1>();
    __syncwarp();  // a warp reads what its own lanes asked for
    float sums[1][kRowTiles][4] = {};
    MultiplyTile<T, kRowTiles>(ring, tile, left, sums[0]);
    __syncwarp();
    ring.Ask(tile + kStages, last);
    if (tile > first) finish(tile - 1);
    if (biases != nullptr && tile * kTile + own < outputs) {
      bias = biases[tile * kTile + own];
    }
    // One part of the block's sums is written while the other is read.
    PutSums<kPitch>(parts + (tile % 2 * kSlices + slice) * kPart, sums);
    __syncthreads();
  }
  finish(last - 1);
}

unsigned Tiles(const Product& p) { return Blocks(p.weight.rows, kTile); }

unsigned Tiles(const ProductSet& set) {
  return Tiles(set.products[0]) + (set.pair ? Tiles(set.products[1]) : 0);
}
// From where on it was the faster one on an H100, here and in ResidentTakes.
bool HasManyTiles(const ProductSet& set, const ProductLaunch& launch) {
  return Tiles(set) >= unsigned{8} * launch.processors;
}

template <typename T, int kRowTiles, int kStages>
cudaError_t LaunchOf(ProductSet set, LaunchShape shape,
                     const ProductLaunch& launch) {
  constexpr int kRows = kRowTiles * 8;
  const unsigned groups = Blocks(launch.max_rows, kRows);
  const unsigned first = Tiles(set.products[0]);
  // As many blocks as run at once. With several groups of rows no more than
  // the tiles of the longest take: each reads its rows of the left operand.
  const int64_t tiles = Tiles(set);
  const int64_t room =
      std::clamp<int64_t>(kBlocksOf<kRowTiles> * launch.processors / groups,
                          set.pair ? 2 : 1, tiles);
  const int64_t blocks =
      groups == 1 ? room
                  : std::max<int64_t>(Blocks(tiles, Blocks(tiles, room)),
                                      set.pair ? 2 : 1);
  set.first_tiles = static_cast<int32_t>(
      set.pair ? std::max<int64_t>(blocks * first / tiles, 1) : blocks);
  shape.grid = dim3(static_cast<unsigned>(blocks), groups);
  shape.shared_bytes = kSlices * TileRing<kStages>::kBytes +
                       sizeof(float) * 2 * kSlices * kRows * kPitch;
  return Launch(shape, ResidentProduct<T, kRowTiles, kStages>, set);
}

template <typename T>
cudaError_t LaunchRows(const ProductSet& set, const LaunchShape& shape,
                       const ProductLaunch& launch) {
  if (launch.max_rows <= 8) return LaunchOf<T, 1, 4>(set, shape, launch);
  if (launch.max_rows <= 16) return LaunchOf<T, 2, 4>(set, shape, launch);
  // 64 rows a block read the weights once; 32 rows where that would leave
  // blocks with few tiles.
  return launch.max_rows > 32 && HasManyTiles(set, launch)
             ? LaunchOf<T, 8, 4>(set, shape, launch)
             : LaunchOf<T, 4, 2>(set, shape, launch);
}

}  // namespace

bool ResidentTakes(const ProductSet& set, const ProductLaunch& launch) {
  const auto takes = [](const Product& p) {
    return p.finish.kind == Finish::kStore && p.finish.rounded == nullptr &&
           p.weight.stride <= kChunks * kSlices * kChunk;
  };
  if (!takes(set.products[0]) || (set.pair && !takes(set.products[1]))) {
    return false;
  }
  return HasManyTiles(set, launch) ||
         (launch.max_rows > 32 && Tiles(set) * Blocks(launch.max_rows, 32) >=
                                      unsigned{2} * launch.processors);
}

cudaError_t LaunchResident(const ProductSet& set, const ProductLaunch& launch) {
  LaunchShape shape;
  shape.block = dim3(kThreads);
  shape.overlap = launch.overlap;
  shape.stream = launch.stream;
  return set.products[0].weight.dtype == DType::kBF16
             ? LaunchRows<__nv_bfloat16>(set, shape, launch)
             : LaunchRows<__half>(set, shape, launch);
}

}  // namespace chela::cuda
