// The kernel of decode rows of the linear attention, with replay and without.
#ifndef CHELA_KERNELS_CUDA_ATTENTION_ROWS_CUH_
#define CHELA_KERNELS_CUDA_ATTENTION_ROWS_CUH_

#include <cooperative_groups.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/attention_panels.cuh"

namespace chela::cuda {

// A block's barriers with the others of its head.
template <bool kClusters>
struct HeadBarrier {
  __device__ __forceinline__ static void Arrive() {
#if __CUDA_ARCH__ >= 900
    if constexpr (kClusters)
      cooperative_groups::this_cluster().barrier_arrive();
#endif
  }
  __device__ __forceinline__ static void Wait() {
#if __CUDA_ARCH__ >= 900
    if constexpr (kClusters) cooperative_groups::this_cluster().barrier_wait();
#endif
  }
  __device__ __forceinline__ static void Sync() {
    Arrive();
    Wait();
    if constexpr (!kClusters) __syncthreads();
  }
};

// A panel's output from its groups' sums in ascending order, a tile of 64
// columns by one warp, which tells its squares to the cluster.
template <bool kClusters, typename Update>
__device__ __forceinline__ void FinishPanel(const PanelWork& work, int own,
                                            const Update& update) {
  const PanelShared& memory = work.memory;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int tile = work.at.FirstColumn(own) / kTileColumns + warp;
  if (warp >= kPanelTiles || tile >= ValueTiles(work.op.value_dim)) return;
  const int column = warp * kTileColumns + lane;
  float low = 0;
  float high = 0;
#pragma unroll
  for (int i = 0; i < kKeyGroups; ++i) {
    low += memory.Sum(i, column);
    high += memory.Sum(i, column + 32);
  }
  update.Finish(column, low, high);
  memory.o[own * kPanelColumns + column] = low;
  memory.o[own * kPanelColumns + column + 32] = high;
  const float squares = TileSquares(low, high);
  float* to = memory.squares + tile;
#if __CUDA_ARCH__ >= 900
  // Written where it will be read: a read from another block's memory takes
  // far longer than the wait for everyone that is needed anyway.
  if constexpr (kClusters) {
    if (lane < work.at.cluster_size)
      to = cooperative_groups::this_cluster().map_shared_rank(to, lane);
  }
#endif
  if (lane < work.at.cluster_size) *to = squares;
}

// This thread's column of an input or a weight of a head; 0 beyond it.
__device__ __forceinline__ float ColumnOf(const PanelWork& work,
                                          const RowView& rows, int first) {
  const int column = first + static_cast<int>(threadIdx.x);
  if (column >= work.op.value_dim) return 0.0f;
  return __ldcg(rows.data + work.state.row * rows.stride +
                work.at.head * work.op.value_dim + column);
}
__device__ __forceinline__ float NormWeight(const PanelWork& work, int first) {
  const int column = first + static_cast<int>(threadIdx.x);
  if (column >= work.op.value_dim) return 0.0f;
  return work.op.norm_weight[work.at.head * work.op.value_dim + column];
}

// phi(q) and phi(k) of the token. `scales` are those of this thread's first
// key.
template <typename Update>
__device__ __forceinline__ void MakeFeatures(const PanelWork& work,
                                             const AttentionScales& scales,
                                             const Update& update) {
  const LinearAttention& op = work.op;
  const int thread = static_cast<int>(threadIdx.x);
  const int first = work.at.head * op.key_dim;
  const float* const shared =
      op.shared.data + work.state.row * op.shared.stride + first;
  for (int i = thread; i < PanelShared::PaddedKeys(op.key_dim);
       i += kPanelThreads) {
    float2 both = {};
    if (i < op.key_dim) {
      both = QueryAndKey(op, __ldcg(shared + i),
                         i == thread ? scales : LoadScales(op, first + i));
    }
    work.memory.q[i] = both.x;
    work.memory.k[i] = both.y;
    update.TakeKey(i, both.y);
  }
}

// Norms and gates the columns of the block's panels, once all tiles' squares
// are there.
__device__ __forceinline__ void GatePanels(const PanelWork& work,
                                           const RoundedOut& copy,
                                           float first_reset,
                                           float first_weight) {
  const LinearAttention& op = work.op;
  const int tiles = ValueTiles(op.value_dim);
  const int thread = static_cast<int>(threadIdx.x);
  float squares = 0;
  for (int i = 0; i < tiles; ++i) squares += work.memory.squares[i];
  const float scale = HeadScale(op, squares);
  for (int own = 0; own < work.at.own_panels; ++own) {
    const int first = work.at.FirstColumn(own);
    if (first + thread >= op.value_dim) return;
    const float out =
        Gate(work.memory.o[own * kPanelColumns + thread], scale,
             own == 0 ? first_reset : ColumnOf(work, op.reset, first),
             own == 0 ? first_weight : NormWeight(work, first));
    const int64_t to =
        (work.state.row * op.heads + work.at.head) * op.value_dim + first +
        thread;
    op.out[to] = out;
    StoreRounded(copy, to, out);
  }
}

// A cluster of blocks owns one head of one row, a block a panel at a time. The
// state of the first one, and what Update asks for, is on its way before the
// wait for the projections; small blocks, so that many of them and of the next
// kernel are.
template <bool kClusters, typename Update>
__global__ void __launch_bounds__(kPanelThreads, Update::kBlocks)
    AttendRows(const __grid_constant__ LinearAttention op,
               const __grid_constant__ RoundedOut copy,
               const __grid_constant__ DecodeRows rows, int cluster_size) {
  extern __shared__ float4 dynamic[];
  using Barrier = HeadBarrier<kClusters>;
  LetLaterStart();
  const PanelPlace at(op, cluster_size);
  // The whole cluster; the number of rows is from before the step's first
  // kernel.
  if (at.index >= *rows.count) {
    WaitForEarlier();
    return;
  }
  Barrier::Arrive();
  const PanelShared memory(dynamic, op.key_dim, at.own_panels,
                           Update::Floats(op));
  const HeadState state(op, rows, at);
  const PanelWork work = {op, at, state, memory};
  const int first_column = at.FirstColumn(0);
  AskState(work, 0, first_column);
  const Update update(work);
  update.Ask(first_column);
  const int thread = static_cast<int>(threadIdx.x);
  AttentionScales scales = {};
  if (thread < op.key_dim) {
    scales = LoadScales(op, at.head * op.key_dim + thread);
  }
  const float first_weight = NormWeight(work, first_column);

  WaitForEarlier();
  // All its blocks have begun, so their memory may be written.
  Barrier::Wait();
  const float first_value = ColumnOf(work, op.value, first_column);
  const float first_reset = ColumnOf(work, op.reset, first_column);
  MakeFeatures(work, scales, update);
  for (int own = 0; own < at.own_panels; ++own) {
    const int first = at.FirstColumn(own);
    if (first >= op.value_dim) break;
    if (own > 0) {
      __syncthreads();  // the last panel's values and sums were read
      AskState(work, 0, first);
      update.Ask(first);
    }
    // Of 0 it is 0.
    update.TakeValue(
        first, Silu(own == 0 ? first_value : ColumnOf(work, op.value, first)));
    WaitForCopies();
    __syncthreads();
    if (own == 0) update.Prepare();
    for (int key = 0; key < op.key_dim; key += kTileKeys) {
      if (key > 0) {
        AskState(work, key, first);
        WaitForCopies();
      }
      if (memory.apart && own + key > 0) update.AskKeys(key);
      update.Walk(key, first);
    }
    __syncthreads();
    FinishPanel<kClusters>(work, own, update);
  }
  WaitForCopies();  // of a block without a panel
  Barrier::Sync();
  update.End();
  GatePanels(work, copy, first_reset, first_weight);
}

template <typename Update>
cudaError_t LaunchRows(const LinearAttention& op, const RoundedOut& copy,
                       const DecodeRows& rows, int32_t max_rows, bool clusters,
                       bool overlap, cudaStream_t stream) {
  const int panels = Panels(op.value_dim);
  LaunchShape shape;
  while (clusters && shape.cluster < kMaxCluster && shape.cluster < panels) {
    shape.cluster *= 2;
  }
  shape.grid = dim3(static_cast<unsigned>(op.heads * shape.cluster),
                    static_cast<unsigned>(max_rows));
  shape.block = dim3(kPanelThreads);
  shape.shared_bytes = PanelShared::Bytes(
      op.key_dim, (panels + shape.cluster - 1) / shape.cluster,
      Update::Floats(op), ValueTiles(op.value_dim));
  shape.overlap = overlap;
  shape.stream = stream;
  return shape.cluster > 1
             ? Launch(shape, AttendRows<true, Update>, op, copy, rows,
                      shape.cluster)
             : Launch(shape, AttendRows<false, Update>, op, copy, rows, 1);
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ATTENTION_ROWS_CUH_
