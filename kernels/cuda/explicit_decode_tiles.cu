// The tiles that decode rows end, of all layers.
#include "kernels/cuda/explicit_tile.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

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
  int layer = 0;  // of those in the launch
  int group = 0;
  int log_size = 0;
  int part = 0;
};

__device__ __forceinline__ void RunItem(const DecodeTileLayers& tiles,
                                        const DecodeRows& rows,
                                        const TileItem& item, float* shared) {
  const DecodeTileLayers::Layer& layer = tiles.layers[item.layer];
  const GroupState state = StateOf(layer.state, layer.layer, layer.view,
                                   rows.slots[item.index], item.group);
  const int first = item.log_size < kMinLogTransform
                        ? 0
                        : item.part << LogChannelsOf(item.log_size);
  if (first >= state.channels) return;
  const int64_t tau = state.origin + rows.positions[item.index] + 1;
  RunTile(layer.view, item.group, item.log_size, item.part,
          PendingTile(layer.view, state, tau, 1 << item.log_size, first),
          shared);
}

// 1 / odd modulo 2^32, by Newton's iteration: each doubles the bits that are
// right, of which odd itself has three.
__device__ __forceinline__ uint32_t InverseOf(uint32_t odd) {
  uint32_t inverse = odd;
#pragma unroll
  for (int i = 0; i < 4; ++i) inverse *= 2 - odd * inverse;
  return inverse;
}

// The tile of candidate `unit`, if there is one, and its parts. Tiles end
// where tau is a multiple of `block`. As the origins' stride is odd, one group
// in `block` of a layer is there with each token: a row has every block-th
// group from one on. Rows are the fastest index, so that a size that ends in
// all of them at once is spread over all blocks of threads.
__device__ __forceinline__ int FindTile(const DecodeTileLayers& tiles,
                                        const DecodeRows& rows, int count,
                                        int block, int unit, TileItem* item) {
  item->index = unit % count;
  item->layer = unit / count % tiles.count;
  const DecodeTileLayers::Layer& layer = tiles.layers[item->layer];
  const int64_t end = rows.positions[item->index] + 1;
  const uint32_t first =
      -(static_cast<uint32_t>(end) *
        InverseOf(static_cast<uint32_t>(layer.view.origin_stride))) -
      static_cast<uint32_t>(layer.layer * layer.view.groups);
  item->group = static_cast<int>(first & static_cast<uint32_t>(block - 1)) +
                unit / (count * tiles.count) * block;
  if (item->group >= layer.view.groups) return 0;
  const int64_t tau =
      StateOf(layer.state, layer.layer, layer.view, 0, item->group).origin +
      end;
  item->log_size = 31 - __clz(TileSize(layer.view, tau));
  return PartsOf(item->log_size);
}

// Which tiles end now depends on positions, which are known on the device only:
// each block looks through all candidates, a window of kTileThreads at a time,
// and takes every gridDim.x-th of the items it finds. Nothing but positions is
// read before the wait.
__global__ void __launch_bounds__(kTileThreads, 1)
    DecodeTiles(const __grid_constant__ DecodeTileLayers tiles,
                const __grid_constant__ DecodeRows rows) {
  extern __shared__ float shared[];
  __shared__ int warp_sums[kTileThreads / 32];
  __shared__ TileItem own;
  LetLaterStart();
  const ExplicitView& view = tiles.layers[0].view;
  const int count = *rows.count;
  const int block = min(view.ring, kNear);
  const int units = count * tiles.count * ((view.groups + block - 1) / block);
  const int grid = static_cast<int>(gridDim.x);
  int next = static_cast<int>(blockIdx.x);  // of this block's items
  int found = 0;                            // in the windows before
  WaitForEarlier();
  for (int window = 0; window < units; window += kTileThreads) {
    const int unit = window + static_cast<int>(threadIdx.x);
    TileItem mine;
    const int parts =
        unit < units ? FindTile(tiles, rows, count, block, unit, &mine) : 0;
    const Before before = CountBefore(parts, warp_sums);
    for (; next < found + before.all; next += grid) {
      const int part = next - found - before.items;
      if (part >= 0 && part < parts) {
        own = mine;
        own.part = part;
      }
      __syncthreads();
      const TileItem item = own;
      RunItem(tiles, rows, item, shared);
      __syncthreads();
    }
    found += before.all;
  }
}

}  // namespace

cudaError_t LaunchTiles(const DecodeTileLayers& tiles, const DecodeRows& rows,
                        int32_t max_rows, int32_t processors, bool overlap,
                        cudaStream_t stream) {
  if (tiles.count == 0) return cudaSuccess;
  // No more blocks than there can be items.
  const ExplicitView& view = tiles.layers[0].view;
  const int64_t items = int64_t{max_rows} * tiles.count * view.groups *
                        (kGroup >> LogChannelsOf(view.log_ring));
  LaunchShape shape;
  shape.grid = dim3(items < processors ? static_cast<unsigned>(items)
                                       : static_cast<unsigned>(processors));
  shape.block = dim3(kTileThreads);
  shape.shared_bytes = kPlaneBytes;
  shape.overlap = overlap;
  shape.stream = stream;
  return Launch(shape, DecodeTiles, tiles, rows);
}

}  // namespace chela::cuda
