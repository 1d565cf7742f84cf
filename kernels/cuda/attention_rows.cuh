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

// A panel's output from its groups' sums in ascending order, and the squares of
// each tile of 64 columns by one warp, which tells them to the cluster.
template <bool kClusters, bool kOnce, typename Update>
__device__ __forceinline__ void FinishPanel(const PanelWork<kOnce>& work,
                                            int own, const Update& update) {
  const PanelShared<kOnce>& memory = work.memory;
  const int thread = static_cast<int>(threadIdx.x);
  float* const o = memory.o + own * kPanelColumns;
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kKeyGroups; ++i) sum += memory.Sum(i, thread);
  o[thread] = update.Finish(thread, sum);
  __syncthreads();
  const int lane = thread % 32;
  const int tile = work.at.FirstColumn(own) / kTileColumns + thread / 32;
  if (thread / 32 >= kPanelTiles || tile >= ValueTiles(work.op.value_dim)) {
    return;
  }
  const int column = thread / 32 * kTileColumns + lane;
  const float squares = TileSquares(o[column], o[column + 32]);
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
template <bool kOnce>
__device__ __forceinline__ float ColumnOf(const PanelWork<kOnce>& work,
                                          const RowView& rows, int first) {
  const int column = first + static_cast<int>(threadIdx.x);
  if (column >= work.op.value_dim) return 0.0f;
  return __ldcg(rows.data + work.state.row * rows.stride +
                work.at.head * work.op.value_dim + column);
}
template <bool kOnce>
__device__ __forceinline__ float NormWeight(const PanelWork<kOnce>& work,
                                            int first) {
  const int column = first + static_cast<int>(threadIdx.x);
  if (column >= work.op.value_dim) return 0.0f;
  return work.op.norm_weight[work.at.head * work.op.value_dim + column];
}

// phi(q) and phi(k) of the token.
template <bool kOnce, typename Update>
__device__ __forceinline__ void MakeFeatures(const PanelWork<kOnce>& work,
                                             const Update& update) {
  const LinearAttention& op = work.op;
  const int first = work.at.head * op.key_dim;
  const float* const shared =
      op.shared.data + work.state.row * op.shared.stride + first;
  for (int i = static_cast<int>(threadIdx.x); i < work.memory.padded_keys;
       i += kPanelThreads) {
    float2 both = {};
    if (i < op.key_dim) {
      both = QueryAndKey(op, __ldcg(shared + i), LoadScales(op, first + i));
    }
    work.memory.q[i] = both.x;
    work.memory.k[i] = both.y;
    update.TakeKey(i, both.y);
  }
}

// All keys of a panel's columns. `tile` is the first group of the first ones.
template <bool kOnce, typename Update>
__device__ __forceinline__ void WalkPanel(const PanelWork<kOnce>& work, int own,
                                          StateTile tile,
                                          const Update& update) {
  const int column = work.at.FirstColumn(own);
  const int keys = work.memory.padded_keys;
  for (int key = 0; key < keys; key += kTileKeys) {
    if (key > 0) {
      tile = AskState(work, key, column);
      WaitForCopies();
    }
    if (keys > kTileKeys && own + key > 0) update.AskKeys(key);
    update.Walk(key, column, tile);
  }
}

// Norms and gates the columns of the block's panels, once all tiles' squares
// are there.
template <bool kOnce>
__device__ __forceinline__ void GatePanels(const PanelWork<kOnce>& work,
                                           const RoundedOut& copy,
                                           float first_reset,
                                           float first_weight) {
  const LinearAttention& op = work.op;
  const int tiles = ValueTiles(op.value_dim);
  const int thread = static_cast<int>(threadIdx.x);
  float squares = 0;
  for (int i = 0; i < tiles; ++i) squares += work.memory.squares[i];
  const float scale = HeadScale(op, squares);
  for (int own = 0; own < (kOnce ? 1 : work.at.own_panels); ++own) {
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
template <bool kClusters, bool kOnce, template <bool> class Update>
__global__ void __launch_bounds__(kPanelThreads, Update<kOnce>::kBlocks)
    AttendRows(const __grid_constant__ LinearAttention op,
               const __grid_constant__ RoundedOut copy,
               const __grid_constant__ DecodeRows rows, int cluster_size) {
  extern __shared__ float4 dynamic[];
  using Barrier = HeadBarrier<kClusters>;
  LetLaterStart();
  const PanelPlace at(op, cluster_size);
  const PanelRow row(rows, at.index);
  // The whole cluster; the number of rows is from before the step's first
  // kernel.
  const int count = *rows.count;
  if (at.index >= count) {
    WaitForEarlier();
    return;
  }
  Barrier::Arrive();
  const int own_panels = kOnce ? 1 : at.own_panels;
  const PanelShared<kOnce> memory(dynamic, op.key_dim, own_panels,
                                  Update<kOnce>::Floats(op));
  const HeadState state(op, row, at);
  const PanelWork<kOnce> work = {op, at, state, memory};
  const int first_column = at.FirstColumn(0);
  StateTile tile = AskState(work, 0, first_column);
  const Update<kOnce> update(work);
  const float first_weight = NormWeight(work, first_column);

  WaitForEarlier();
  // All its blocks have begun, so their memory may be written.
  Barrier::Wait();
  const float first_value = ColumnOf(work, op.value, first_column);
  const float first_reset = ColumnOf(work, op.reset, first_column);
  MakeFeatures(work, update);
  for (int own = 0; own < own_panels; ++own) {
    const int first = at.FirstColumn(own);
    if (first >= op.value_dim) break;
    if (own > 0) {
      __syncthreads();  // the last panel's values and sums were read
      tile = AskState(work, 0, first);
      update.AskValues(first);
    }
    // Of 0 it is 0.
    update.TakeValue(
        first, Silu(own == 0 ? first_value : ColumnOf(work, op.value, first)));
    WaitForCopies();
    __syncthreads();
    if (own == 0) update.Prepare();
    WalkPanel(work, own, tile, update);
    __syncthreads();
    FinishPanel<kClusters>(work, own, update);
  }
  WaitForCopies();  // of a block without a panel
  Barrier::Sync();
  update.End();
  GatePanels(work, copy, first_reset, first_weight);
}

// Shared memory of a multiprocessor from 9.0 on, and what a block costs besides
// its own.
inline constexpr size_t kMultiprocessorShared = 228 * 1024;
inline constexpr size_t kBlockShared = 1024;
// Blocks of a multiprocessor that there is always room for: other kernels need
// shared memory beside those of a few rows.
inline constexpr unsigned kFewestAtOnce = 5;

// The least shared memory of a block of which no more than `blocks` fit a
// multiprocessor.
inline size_t SharedOfOneOf(int64_t blocks) {
  constexpr size_t kGranule = 128;
  const size_t one_more =
      kMultiprocessorShared / static_cast<size_t>(blocks + 1) - kBlockShared;
  return (one_more / kGranule + 1) * kGranule;
}

template <template <bool> class Update, bool kOnce>
cudaError_t LaunchOf(const LinearAttention& op, const RoundedOut& copy,
                     const DecodeRows& rows, int processors, LaunchShape shape,
                     int own_panels) {
  shape.shared_bytes = PanelShared<kOnce>::Bytes(op.key_dim, own_panels,
                                                 Update<kOnce>::Floats(op),
                                                 ValueTiles(op.value_dim));
  if (shape.overlap) {
    // Room for this launch and a quarter of the next: with less, memory waits
    // for blocks to end; with more, all states of the next launch are there
    // when its inputs come, and memory has nothing to do between the two.
    const int64_t launched = int64_t{shape.grid.x} * shape.grid.y;
    const int64_t room = std::min<int64_t>(
        std::max(Blocks(5 * launched, int64_t{4} * processors), kFewestAtOnce),
        Update<kOnce>::kBlocks);
    shape.shared_bytes = std::max(shape.shared_bytes, SharedOfOneOf(room));
  }
  return shape.cluster > 1 ? Launch(shape, AttendRows<true, kOnce, Update>, op,
                                    copy, rows, shape.cluster)
                           : Launch(shape, AttendRows<false, kOnce, Update>, op,
                                    copy, rows, 1);
}

template <template <bool> class Update>
cudaError_t LaunchRows(const LinearAttention& op, const RoundedOut& copy,
                       const DecodeRows& rows, int32_t max_rows,
                       int32_t processors, bool clusters, bool overlap,
                       cudaStream_t stream) {
  const int panels = Panels(op.value_dim);
  LaunchShape shape;
  while (clusters && shape.cluster < kMaxCluster && shape.cluster < panels) {
    shape.cluster *= 2;
  }
  shape.grid = dim3(static_cast<unsigned>(op.heads * shape.cluster),
                    static_cast<unsigned>(max_rows));
  shape.block = dim3(kPanelThreads);
  shape.overlap = overlap;
  shape.stream = stream;
  const int own_panels = (panels + shape.cluster - 1) / shape.cluster;
  const bool once =
      own_panels == 1 && op.key_dim <= kTileKeys && StateAligned(op);
  return once ? LaunchOf<Update, true>(op, copy, rows, processors, shape,
                                       own_panels)
              : LaunchOf<Update, false>(op, copy, rows, processors, shape,
                                        own_panels);
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ATTENTION_ROWS_CUH_
