// The token of each decode row of the explicit convolution, and chunks where
// the ring is so short that they go token by token.
#include "kernels/cuda/explicit_state.cuh"
#include "kernels/cuda/launch.h"

namespace chela::cuda {
namespace {

constexpr int kWarps = 4;

// Completes the output and leaves the input in its place. `sum`: of
// SumNearInputs.
template <int V>
__device__ __forceinline__ void Emit(const ExplicitConvolution& op,
                                     const GroupState& state, const float* taps,
                                     float* row, int64_t at,
                                     const RoundedOut& copy, Channels<V> sum) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int channel = lane * V;
  if (channel >= state.channels) return;
  const Channels<V> a = LoadFresh<V>(op.a + at + channel);
  AddProduct(Load<V>(taps + channel), a, &sum);
  AddProduct(Load<V>(op.skip + state.channel + channel), a, &sum);
  Store(sum, op.c + at + channel);
  Store(sum, copy, at + channel);
  Store(a, row + channel);
}

// A warp has one group of one row. All that it needs but the input is read
// before the wait: no other kernel of this step writes there.
template <int V>
__global__ void __launch_bounds__(kWarps * 32)
    EmitTokens(const __grid_constant__ ExplicitConvolution op,
               const __grid_constant__ ExplicitView view,
               const __grid_constant__ RoundedOut copy,
               const __grid_constant__ DecodeRows rows) {
  LetLaterStart();
  const int unit = static_cast<int>(blockIdx.x) * kWarps +
                   static_cast<int>(threadIdx.x) / 32;
  const int index = unit / view.groups;
  const int group = unit % view.groups;
  if (index >= *rows.count) {
    WaitForEarlier();
    return;
  }
  const GroupState state = StateOf(op, view, rows.slots[index], group);
  const int64_t position = rows.positions[index];
  const int64_t tau = state.origin + position;
  float* const row =
      state.rows + (tau & (view.ring - 1)) * int64_t{state.channels};
  const int in_block = static_cast<int>(tau & (min(view.ring, kNear) - 1));
  const int near = position < in_block ? static_cast<int>(position) : in_block;
  const float* const taps = TapsOf(view, group);
  const Channels<V> sum =
      SumNearInputs<V>(taps, row, state.channels, near,
                       tau < FirstUntouched(view, state.origin, tau));
  WaitForEarlier();
  Emit<V>(op, state, taps, row,
          int64_t{rows.rows[index]} * view.width + state.channel, copy, sum);
}

// A block has one group of one chunk.
__global__ void __launch_bounds__(512)
    ShortRing(const __grid_constant__ ExplicitConvolution op,
              const __grid_constant__ ExplicitView view, const Chunk* chunks) {
  __shared__ float shared[kDirectTile * kGroup];
  WaitForEarlier();
  const Chunk chunk = chunks[blockIdx.y];
  const int group = static_cast<int>(blockIdx.x);
  const GroupState state = StateOf(op, view, chunk.slot, group);
  const float* const taps = TapsOf(view, group);
  const int block = min(view.ring, kNear);
  for (int r = 0; r < chunk.rows; ++r) {
    const int64_t position = chunk.position + r;
    const int64_t tau = state.origin + position;
    const int in_block = static_cast<int>(tau & (block - 1));
    if (threadIdx.x < 32) {
      float* const row =
          state.rows + (tau & (view.ring - 1)) * int64_t{state.channels};
      const int near =
          position < in_block ? static_cast<int>(position) : in_block;
      const Channels<1> sum =
          SumNearInputs<1>(taps, row, state.channels, near,
                           tau < FirstUntouched(view, state.origin, tau));
      Emit<1>(op, state, taps, row,
              (chunk.first_row + int64_t{r}) * view.width + state.channel, {},
              sum);
    }
    if (in_block != block - 1) continue;
    const int size = TileSize(view, tau + 1);
    RunDirectTile(PendingTile(view, state, tau + 1, size, 0), size, taps,
                  shared, nullptr, [] {});
    __syncthreads();
  }
}

bool Aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

}  // namespace

cudaError_t LaunchEmit(const ExplicitConvolution& op, const ExplicitView& view,
                       const RoundedOut& copy, const DecodeRows& rows,
                       int32_t max_rows, bool overlap, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid = dim3(Blocks(int64_t{max_rows} * view.groups, kWarps));
  shape.block = dim3(kWarps * 32);
  shape.overlap = overlap;
  shape.stream = stream;
  const bool wide = view.width % 4 == 0 && op.state.slot_stride % 4 == 0 &&
                    Aligned(op.a) && Aligned(op.skip) && Aligned(op.c) &&
                    Aligned(op.state.data);
  return wide ? Launch(shape, EmitTokens<4>, op, view, copy, rows)
              : Launch(shape, EmitTokens<1>, op, view, copy, rows);
}

cudaError_t LaunchShortRing(const ExplicitConvolution& op,
                            const ExplicitView& view, const Chunk* chunks,
                            int32_t count, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid =
      dim3(static_cast<unsigned>(view.groups), static_cast<unsigned>(count));
  shape.block = dim3(512);
  shape.stream = stream;
  return Launch(shape, ShortRing, op, view, chunks);
}

}  // namespace chela::cuda
