// What a chunk does to the ring of attention replay before its tokens.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_ring.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

// S = l^n S + sum_s l^(n-1-s) k_s w_s^T for a thread's part, s running over the
// n entries of the ring.
__device__ __forceinline__ void AddRing(const LinearAttention& op,
                                        const Ring& ring, const float* powers,
                                        const TileShape& shape,
                                        StateTile& tile) {
  Scale(powers[ring.entries], tile);
#pragma unroll 1
  for (int s = 0; s < ring.entries; ++s) {
    const float factor = powers[ring.entries - 1 - s];
    const float* const k = ring.keys + s * op.key_dim;
    const float* const values = ring.values + s * op.value_dim;
    float scaled[4];
    float w[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = shape.first_key + i;
      const int column = shape.first_column + i;
      scaled[i] = key < op.key_dim ? factor * __ldcg(k + key) : 0.0f;
      w[i] = column < op.value_dim ? __ldcg(values + column) : 0.0f;
    }
    AddOuter(scaled, w, tile);
  }
}

// A block adds the ring to one tile of 64 value columns of one head of one
// chunk's state.
__global__ void __launch_bounds__(kTileThreads)
    AddRings(const __grid_constant__ LinearAttention op, const Chunk* chunks) {
  __shared__ float powers[kMaxReplay + 1];
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int tiles = ValueTiles(op.value_dim);
  const int head = static_cast<int>(blockIdx.x) / tiles;
  const int thread = static_cast<int>(threadIdx.x);
  const Ring ring(op, chunk.slot, chunk.position, head);
  if (ring.entries == 0) return;  // also at position 0
  const float decay = op.decay == nullptr ? 1.0f : op.decay[head];
  if (thread <= kMaxReplay) powers[thread] = Power(decay, thread);
  __syncthreads();
  TileShape shape;
  shape.keys = op.key_dim;
  shape.columns = op.value_dim;
  shape.aligned = StateAligned(op);
  shape.first_column = static_cast<int>(blockIdx.x) % tiles * kTileColumns +
                       thread % (kTileColumns / 4) * 4;
  float* const state = op.state.data + chunk.slot * op.state.slot_stride +
                       int64_t{head} * op.key_dim * op.value_dim;
  for (int first = 0; first < op.key_dim; first += kTileKeys) {
    shape.first_key = first + thread / (kTileColumns / 4) * 4;
    StateTile tile = shape.Load(state);
    AddRing(op, ring, powers, shape, tile);
    shape.Store(tile, state);
  }
}

// After AddRings, whose blocks all read the counts.
__global__ void __launch_bounds__(32)
    EmptyRings(const __grid_constant__ LinearAttention op,
               const Chunk* chunks) {
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  for (int head = static_cast<int>(threadIdx.x); head < op.heads; head += 32) {
    *Ring(op, chunk.slot, chunk.position, head).count = 0.0f;
  }
}

}  // namespace

cudaError_t LaunchEmptyRings(const LinearAttention& op, const ChunkList& chunks,
                             cudaStream_t stream) {
  LaunchShape shape;
  shape.stream = stream;
  shape.grid = dim3(static_cast<unsigned>(op.heads * ValueTiles(op.value_dim)),
                    static_cast<unsigned>(chunks.count));
  shape.block = dim3(kTileThreads);
  const cudaError_t error = Launch(shape, AddRings, op, chunks.chunks);
  if (error != cudaSuccess) return error;
  shape.grid.x = 1;
  shape.block = dim3(32);
  return Launch(shape, EmptyRings, op, chunks.chunks);
}

}  // namespace chela::cuda
