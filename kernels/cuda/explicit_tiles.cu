// The tiles of the explicit convolution. A block has a tile of 128 rows or more
// for as many channels as kTileThreads threads can hold, so that blocks cost
// about the same whatever their tile's size.
#include "kernels/cuda/explicit_chunk.cuh"
#include "kernels/cuda/explicit_transform.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr size_t kPlaneBytes = 64 * 1024;  // 16384 floats

struct TileWork {
  const float2* spectrum = nullptr;  // of these channels
  const float2* roots = nullptr;
  float* plane = nullptr;  // shared memory
};

__device__ __forceinline__ void Multiply(Complex* x, float2 g) {
  *x = {fmaf(x->re, g.x, -(x->im * g.y)), fmaf(x->re, g.y, x->im * g.x)};
}

// From the rows of one pass to those of another.
template <int kLogSize, int kFrom, int kTo>
__device__ __forceinline__ void Exchange(Complex* x, int peer, int channel,
                                         float* plane) {
  __syncthreads();
  Scatter<kLogSize, kFrom, &Complex::re>(x, peer, channel, plane);
  __syncthreads();
  Gather<kLogSize, kTo, &Complex::re>(plane, peer, channel, x);
  __syncthreads();
  Scatter<kLogSize, kFrom, &Complex::im>(x, peer, channel, plane);
  __syncthreads();
  Gather<kLogSize, kTo, &Complex::im>(plane, peer, channel, x);
}

template <int kLogSize, int kDone>
__device__ __forceinline__ void Convolve(Complex* x, int peer, int channel,
                                         const TileWork& work) {
  using P = Pass<kLogSize, kDone>;
  SplitPass<kLogSize, kDone>(x, peer, work.roots);
  if constexpr (P::kNext == kLogSize) {
#pragma unroll
    for (int i = 0; i < TransformShape<kLogSize>::kHeld; ++i) {
      Multiply(x + i, __ldg(work.spectrum + i * kTileThreads + threadIdx.x));
    }
  } else {
    Exchange<kLogSize, kDone, P::kNext>(x, peer, channel, work.plane);
    Convolve<kLogSize, P::kNext>(x, peer, channel, work);
    Exchange<kLogSize, P::kNext, kDone>(x, peer, channel, work.plane);
  }
  JoinPass<kLogSize, kDone>(x, peer, work.roots);
}

template <int kLogSize>
__device__ __forceinline__ void RunTransform(const TileRows& tile,
                                             const TileWork& work) {
  using Shape = TransformShape<kLogSize>;
  using P = Pass<kLogSize, 0>;
  const int channel = static_cast<int>(threadIdx.x) % Shape::kChannels;
  const int peer = static_cast<int>(threadIdx.x) / Shape::kChannels;
  Complex x[Shape::kHeld];
#pragma unroll
  for (int j = 0; j < Shape::kHeld; ++j) {
    x[j].re = ReadTile(tile, (j << P::kLogStride) + peer, channel);
  }
  Convolve<kLogSize, 0>(x, peer, channel, work);
#pragma unroll
  for (int j = 0; j < Shape::kHeld; ++j) {
    WriteTile(tile, (j << P::kLogStride) + peer, channel, x[j].im);
  }
}

__device__ __forceinline__ int PartsOf(int log_size) {
  return log_size < kMinLogTransform ? 1 : kGroup >> LogChannelsOf(log_size);
}

// Part `part` of the channels of a tile; `tile` begins with its first channel.
__device__ __forceinline__ void RunTile(const ExplicitView& view, int group,
                                        int log_size, int part,
                                        const TileRows& tile, float* shared) {
  const int size = 1 << log_size;
  TileWork work;
  work.spectrum = view.spectra +
                  int64_t{group} * (2 * view.ring - kDirectTaps) * kGroup +
                  (size - kDirectTaps) * kGroup +
                  (part << (log_size + LogChannelsOf(log_size)));
  work.roots = view.roots;
  work.plane = shared;
  switch (log_size) {
    case 7:
      return RunTransform<7>(tile, work);
    case 8:
      return RunTransform<8>(tile, work);
    case 9:
      return RunTransform<9>(tile, work);
    case 10:
      return RunTransform<10>(tile, work);
    case 11:
      return RunTransform<11>(tile, work);
    case 12:
      return RunTransform<12>(tile, work);
    case 13:
      return RunTransform<13>(tile, work);
    case 14:
      return RunTransform<14>(tile, work);
    default:
      return RunDirectTile(tile, size, TapsOf(view, group), shared);
  }
}

// A number of items for each thread; those before it, and in all.
struct Before {
  int items = 0;
  int all = 0;
};
__device__ __forceinline__ Before CountBefore(int items, int* warp_sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  int sum = items;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const int below = __shfl_up_sync(kWholeWarp, sum, offset);
    if (lane >= offset) sum += below;
  }
  __syncthreads();  // the sums of the window before have been read
  if (lane == 31) warp_sums[warp] = sum;
  __syncthreads();
  Before out;
  out.items = sum - items;
#pragma unroll
  for (int i = 0; i < kTileThreads / 32; ++i) {
    if (i < warp) out.items += warp_sums[i];
    out.all += warp_sums[i];
  }
  return out;
}

struct TileItem {
  int index = 0;  // of the decode row
  int group = 0;
  int log_size = 0;
  int part = 0;
};

__device__ __forceinline__ void RunItem(const ExplicitConvolution& op,
                                        const ExplicitView& view,
                                        const DecodeRows& rows,
                                        const TileItem& item, float* shared) {
  const GroupState state =
      StateOf(op, view, rows.slots[item.index], item.group);
  const int first = item.log_size < kMinLogTransform
                        ? 0
                        : item.part << LogChannelsOf(item.log_size);
  if (first >= state.channels) return;
  const int64_t tau = state.origin + rows.positions[item.index] + 1;
  RunTile(view, item.group, item.log_size, item.part,
          PendingTile(view, state, tau, 1 << item.log_size, first), shared);
}

// Which tiles end now depends on positions, which are known on the device only:
// each block looks through all rows and groups, a window of kTileThreads at a
// time, and takes every gridDim.x-th of the items it finds. Nothing but
// positions is read before the wait.
__global__ void __launch_bounds__(kTileThreads, 1)
    DecodeTiles(const __grid_constant__ ExplicitConvolution op,
                const __grid_constant__ ExplicitView view,
                const __grid_constant__ DecodeRows rows) {
  extern __shared__ float shared[];
  __shared__ int warp_sums[kTileThreads / 32];
  __shared__ TileItem own;
  LetLaterStart();
  const int units = *rows.count * view.groups;
  const int block = min(view.ring, kNear);
  const int grid = static_cast<int>(gridDim.x);
  int next = static_cast<int>(blockIdx.x);  // of this block's items
  int found = 0;                            // in the windows before
  bool waited = false;
  for (int window = 0; window < units; window += kTileThreads) {
    const int unit = window + static_cast<int>(threadIdx.x);
    TileItem mine;
    int parts = 0;
    if (unit < units) {
      mine.index = unit / view.groups;
      mine.group = unit % view.groups;
      const int64_t tau = StateOf(op, view, 0, mine.group).origin +
                          rows.positions[mine.index] + 1;
      if ((tau & (block - 1)) == 0) {
        mine.log_size = 31 - __clz(TileSize(view, tau));
        parts = PartsOf(mine.log_size);
      }
    }
    const Before before = CountBefore(parts, warp_sums);
    for (; next < found + before.all; next += grid) {
      const int part = next - found - before.items;
      if (part >= 0 && part < parts) {
        own = mine;
        own.part = part;
      }
      __syncthreads();
      const TileItem item = own;
      if (!waited) WaitForEarlier();
      waited = true;
      RunItem(op, view, rows, item, shared);
      __syncthreads();
    }
    found += before.all;
  }
  if (!waited) WaitForEarlier();
}

// The tiles of one size of a phase's chunks: of a size below M those that end
// at odd multiples of it, of M the one at the end of the period.
__global__ void __launch_bounds__(kTileThreads, 1)
    ChunkTiles(const __grid_constant__ ExplicitConvolution op,
               const __grid_constant__ ExplicitView view,
               const __grid_constant__ ChunkPhase phase, int log_size) {
  extern __shared__ float shared[];
  WaitForEarlier();
  const Chunk chunk = phase.chunks[blockIdx.z];
  const int group = static_cast<int>(blockIdx.y);
  const GroupState state = StateOf(op, view, chunk.slot, group);
  const ChunkPart part = PartOf(view, chunk, state.origin, phase.phase);
  if (part.end <= part.start) return;
  const int parts = PartsOf(log_size);
  const int which = static_cast<int>(blockIdx.x) % parts;
  const int first = which << LogChannelsOf(log_size);
  const int64_t size = int64_t{1} << log_size;
  int64_t tau = part.end;
  if (size < view.ring) {
    tau = ((part.start + size) & -(2 * size)) + size +
          static_cast<int64_t>(blockIdx.x) / parts * 2 * size;
    if (tau > part.end) return;
  } else if ((tau & (size - 1)) != 0) {
    return;
  }
  if (first >= state.channels) return;
  TileRows tile = PendingTile(view, state, tau, 1 << log_size, first);
  tile.split = static_cast<int>(min(part.end - tau, size));
  tile.c =
      op.c + (part.row + tau - part.start) * view.width + state.channel + first;
  tile.c_stride = view.width;
  RunTile(view, group, log_size, which, tile, shared);
}

}  // namespace

cudaError_t LaunchTiles(const ExplicitConvolution& op, const ExplicitView& view,
                        const DecodeRows& rows, int32_t max_rows,
                        int32_t processors, bool overlap, cudaStream_t stream) {
  // No more blocks than there can be items.
  const int64_t items = int64_t{max_rows} * view.groups *
                        (kGroup >> LogChannelsOf(view.log_ring));
  LaunchShape shape;
  shape.grid = dim3(items < processors ? static_cast<unsigned>(items)
                                       : static_cast<unsigned>(processors));
  shape.block = dim3(kTileThreads);
  shape.shared_bytes = kPlaneBytes;
  shape.overlap = overlap;
  shape.stream = stream;
  return Launch(shape, DecodeTiles, op, view, rows);
}

cudaError_t LaunchTiles(const ExplicitConvolution& op, const ExplicitView& view,
                        const ChunkPhase& phase, int32_t log_size,
                        cudaStream_t stream) {
  const unsigned parts = kGroup >> LogChannelsOf(log_size);
  const unsigned tiles = log_size == view.log_ring
                             ? 1
                             : Blocks(phase.longest, int64_t{2} << log_size);
  LaunchShape shape;
  shape.grid = dim3(tiles * parts, static_cast<unsigned>(view.groups),
                    static_cast<unsigned>(phase.count));
  shape.block = dim3(kTileThreads);
  shape.shared_bytes = kPlaneBytes;
  shape.stream = stream;
  return Launch(shape, ChunkTiles, op, view, phase, log_size);
}

}  // namespace chela::cuda
