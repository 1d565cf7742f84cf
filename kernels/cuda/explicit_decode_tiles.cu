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

__device__ __forceinline__ TileRows RowsOf(const DecodeTileLayers& tiles,
                                           const DecodeRows& rows,
                                           const TileItem& item) {
  const DecodeTileLayers::Layer& layer = tiles.layers[item.layer];
  const GroupState state = StateOf(layer.state, layer.layer, layer.view,
                                   rows.slots[item.index], item.group);
  const int first = item.log_size < kMinLogTransform
                        ? 0
                        : item.part << LogChannelsOf(item.log_size);
  const int64_t tau = state.origin + rows.positions[item.index] + 1;
  return PendingTile(layer.view, state, tau, 1 << item.log_size, first);
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
// each block looks through all candidates for the items whose turn it has, the
// large transforms first, then the small ones, then the sums; these have the
// numbers 0, 1 .. All threads of a block call it together.
class ItemFinder {
 public:
  __device__ ItemFinder(const DecodeTileLayers& tiles, const DecodeRows& rows)
      : tiles_(tiles), rows_(rows), count_(*rows.count) {
    const ExplicitView& view = tiles.layers[0].view;
    block_ = min(view.ring, kNear);
    units_ = count_ * tiles.count * ((view.groups + block_ - 1) / block_);
    window_ = -kTileThreads;
  }

  // Item `number`, not below that of the call before. False: there are fewer.
  __device__ __forceinline__ bool Find(int number, TileItem* item) {
    __shared__ int warp_sums[kTileThreads / 32];
    __shared__ TileItem found[2];
    while (number >= behind_ + before_.all) {
      behind_ += before_.all;
      window_ += kTileThreads;
      if (window_ >= units_) {
        window_ = 0;
        if (++kind_ == kKinds) return false;
      }
      if (units_ == 0) return false;
      const int unit = window_ + static_cast<int>(threadIdx.x);
      parts_ = unit < units_
                   ? FindTile(tiles_, rows_, count_, block_, unit, &mine_)
                   : 0;
      if (parts_ > 0 && KindOf(mine_.log_size) != kind_) parts_ = 0;
      before_ = CountBefore(parts_, warp_sums);
    }
    // Two places, since a thread may still read what the last call found.
    turn_ ^= 1;
    const int part = number - behind_ - before_.items;
    if (part >= 0 && part < parts_) {
      found[turn_] = mine_;
      found[turn_].part = part;
    }
    __syncthreads();
    *item = found[turn_];
    return true;
  }

 private:
  static constexpr int kKinds = 3;
  static __device__ __forceinline__ int KindOf(int log_size) {
    if (log_size < kMinLogTransform) return 2;
    return LogHeldOf(log_size) < 5 ? 1 : 0;
  }

  const DecodeTileLayers& tiles_;
  const DecodeRows& rows_;
  int count_ = 0;
  int block_ = 0;
  int units_ = 0;
  int window_ = 0;
  int kind_ = 0;
  int behind_ = 0;  // items before the window
  Before before_;
  TileItem mine_;
  int parts_ = 0;
  int turn_ = 0;
};

// Items are handed out by number, the first ones to the blocks in order, the
// others to whoever comes. A block draws one ahead, whose inputs come while it
// computes. Nothing but positions is read before the wait.
__global__ void __launch_bounds__(kTileThreads, 1)
    DecodeTiles(const __grid_constant__ DecodeTileLayers tiles,
                const __grid_constant__ DecodeRows rows, TileTickets* tickets,
                bool ahead) {
  extern __shared__ float shared[];
  __shared__ int zero;
  __shared__ int drawn;
  LetLaterStart();
  const TileMemory memory = {
      .plane = shared,
      .inputs = ahead ? shared + kPlaneBytes / sizeof(float) : nullptr,
      .zero = &zero};
  if (threadIdx.x == 0) zero = 0;
  const auto ask = [&](const TileItem& item) {
    if (memory.inputs == nullptr || item.log_size < kMinLogAsk) return;
    const TileRows tile = RowsOf(tiles, rows, item);
    if (tile.channels <= 0) return;
    Ask(tile, item.log_size,
        SpectrumOf(tiles.layers[item.layer].view, item.group, item.log_size,
                   item.part),
        memory.inputs);
  };
  ItemFinder finder(tiles, rows);
  TileItem item;
  bool there = finder.Find(static_cast<int>(blockIdx.x), &item);
  WaitForEarlier();
  // Its result is always used, so that it is over before the block is.
  const auto draw = [&] {
    return static_cast<int>(gridDim.x) + atomicAdd(&tickets->next, 1);
  };
  int next = threadIdx.x == 0 && there ? draw() : 0;
  if (there) ask(item);
  while (there) {
    if (threadIdx.x == 0) drawn = next;
    __syncthreads();
    TileItem following;
    const bool more = finder.Find(drawn, &following);
    if (threadIdx.x == 0 && more) next = draw();
    const TileRows tile = RowsOf(tiles, rows, item);
    const auto loaded = [&] {
      if (more) ask(following);
    };
    if (tile.channels > 0) {
      RunTile(tiles.layers[item.layer].view, item.group, item.log_size,
              item.part, tile, memory, loaded);
    } else {
      loaded();
    }
    __syncthreads();
    item = following;
    there = more;
  }
  // The last block leaves the tickets as it found them.
  if (threadIdx.x == 0 &&
      atomicAdd(&tickets->done, 1) == static_cast<int>(gridDim.x) - 1) {
    tickets->next = 0;
    tickets->done = 0;
  }
}

}  // namespace

cudaError_t LaunchTiles(const DecodeTileLayers& tiles, const DecodeRows& rows,
                        int32_t max_rows, int32_t processors, bool modern,
                        TileTickets* tickets, cudaStream_t stream) {
  if (tiles.count == 0) return cudaSuccess;
  // No more blocks than there can be items.
  const ExplicitView& view = tiles.layers[0].view;
  const int64_t items = int64_t{max_rows} * tiles.count * view.groups *
                        (kGroup >> LogChannelsOf(view.log_ring));
  LaunchShape shape;
  shape.grid = dim3(items < processors ? static_cast<unsigned>(items)
                                       : static_cast<unsigned>(processors));
  shape.block = dim3(kTileThreads);
  // Older devices lack the memory for the inputs of the next item.
  shape.shared_bytes = modern ? 2 * kPlaneBytes : kPlaneBytes;
  shape.overlap = modern;
  shape.stream = stream;
  return Launch(shape, DecodeTiles, tiles, rows, tickets, modern);
}

}  // namespace chela::cuda
