// Decode rows of the linear attention.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_rows.cuh"

namespace chela::cuda {
namespace {

// S = decay S + k w^T, o = S^T q (AttendRows).
template <bool kOnce>
class PlainUpdate {
 public:
  static constexpr int kBlocks = kOnce ? 8 : 4;  // of a multiprocessor
  static __host__ __device__ int Floats(const LinearAttention&) {
    return kPanelColumns;
  }

  __device__ __forceinline__ explicit PlainUpdate(const PanelWork<kOnce>& work)
      : work_(work), decay_(work.Decay()) {}

  __device__ __forceinline__ void AskValues(int /*column*/) const {}
  __device__ __forceinline__ void AskKeys(int /*first*/) const {}
  __device__ __forceinline__ void TakeKey(int /*key*/, float /*k*/) const {}
  __device__ __forceinline__ void TakeValue(int /*first*/, float w) const {
    work_.memory.own[threadIdx.x] = w;
  }
  __device__ __forceinline__ void Prepare() const {}

  // Updates a panel and adds its part to each group's sums. `tile` is the first
  // group.
  __device__ __forceinline__ void Walk(int first, int column,
                                       StateTile tile) const {
    float w[4];
    Unpack(reinterpret_cast<const float4*>(work_.memory.own)[threadIdx.x % 32],
           w);
    float first_sums[4];
    WalkGroup(first, 0, column, w, tile, first_sums);
#pragma unroll 1
    for (int i = 1; i < kThreadGroups; ++i) {
      tile = work_.memory.Tile(i);
      if (i == 1) work_.memory.PutSums(0, first_sums);
      float sums[4];
      WalkGroup(first, i, column, w, tile, sums);
      work_.memory.PutSums(i, sums);
    }
  }

  __device__ __forceinline__ float Finish(int /*column*/, float sum) const {
    return sum;
  }
  __device__ __forceinline__ void End() const {}

 private:
  __device__ __forceinline__ void WalkGroup(int first, int i, int column,
                                            const float (&w)[4],
                                            StateTile& tile,
                                            float (&sums)[4]) const {
    const PanelShared<kOnce>& memory = work_.memory;
    const int key = first + FirstKey() + 4 * i;
    float keys[4];
    float queries[4];
    Unpack(reinterpret_cast<const float4*>(memory.k)[key / 4], keys);
    Unpack(reinterpret_cast<const float4*>(memory.q)[key / 4], queries);
    memory.LoadSums(first, i, sums);
    Advance(tile, decay_, keys, queries, w, sums);
    work_.Group(key, column).Store(tile, work_.state.data);
  }

  const PanelWork<kOnce>& work_;
  const float decay_;
};

}  // namespace

cudaError_t LaunchDecode(const LinearAttention& op, const RoundedOut& copy,
                         const DecodeRows& rows, int32_t max_rows,
                         int32_t processors, bool clusters, bool overlap,
                         cudaStream_t stream) {
  return LaunchRows<PlainUpdate>(op, copy, rows, max_rows, processors, clusters,
                                 overlap, stream);
}

}  // namespace chela::cuda
