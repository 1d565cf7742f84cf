// The tiles of chunks.
#include "kernels/cuda/explicit_chunk.cuh"
#include "kernels/cuda/explicit_tile.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

// The tiles of one size of a phase's chunks: of a size below M those that end
// at odd multiples of it, of M the one at the end of the period.
__global__ void __launch_bounds__(kTileThreads, 1)
    ChunkTiles(const __grid_constant__ ExplicitConvolution op,
               const __grid_constant__ ExplicitView view,
               const __grid_constant__ ChunkPhase phase, int log_size) {
  extern __shared__ float shared[];
  __shared__ int zero;
  if (threadIdx.x == 0) zero = 0;
  __syncthreads();
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
  RunTile(view, group, log_size, which, tile,
          {.plane = shared, .inputs = nullptr, .zero = &zero}, [] {});
}

}  // namespace

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
