// Decode rows of the linear attention.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_rows.cuh"

namespace chela::cuda {
namespace {

// S = decay S + k w^T, o = S^T q (AttendRows).
class PlainUpdate {
 public:
  static constexpr int kBlocks = 7;  // of a multiprocessor: their memory fits
  static __host__ __device__ int Floats(const LinearAttention&) {
    return kPanelColumns;
  }

  __device__ __forceinline__ explicit PlainUpdate(const PanelWork& work)
      : work_(work), decay_(work.Decay()) {}

  __device__ __forceinline__ void Ask(int /*column*/) const {}
  __device__ __forceinline__ void AskKeys(int /*first*/) const {}
  __device__ __forceinline__ void TakeKey(int /*key*/, float /*k*/) const {}
  __device__ __forceinline__ void TakeValue(int /*first*/, float w) const {
    work_.memory.own[threadIdx.x] = w;
  }
  __device__ __forceinline__ void Prepare() const {}

  // Updates a panel and adds its part to each group's sums.
  __device__ __forceinline__ void Walk(int first, int column) const {
    const PanelShared& memory = work_.memory;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int key = first + static_cast<int>(threadIdx.x) / 32 * kThreadKeys;
    float w[4];
    Unpack(reinterpret_cast<const float4*>(memory.own)[lane], w);
#pragma unroll
    for (int i = 0; i < kThreadGroups; ++i) {
      StateTile tile = memory.Tile(i);
      float keys[4];
      float queries[4];
      Unpack(reinterpret_cast<const float4*>(memory.k)[key / 4 + i], keys);
      Unpack(reinterpret_cast<const float4*>(memory.q)[key / 4 + i], queries);
      float sums[4] = {};
      if (first > 0) memory.LoadSums(i, sums);
      Advance(tile, decay_, keys, queries, w, sums);
      StoreGroup(work_, i, tile, key + 4 * i, column + 4 * lane);
      memory.PutSums(i, sums);
    }
  }

  __device__ __forceinline__ void Finish(int /*column*/, float& /*low*/,
                                         float& /*high*/) const {}
  __device__ __forceinline__ void End() const {}

 private:
  const PanelWork& work_;
  const float decay_;
};

}  // namespace

cudaError_t LaunchDecode(const LinearAttention& op, const RoundedOut& copy,
                         const DecodeRows& rows, int32_t max_rows,
                         bool clusters, bool overlap, cudaStream_t stream) {
  return LaunchRows<PlainUpdate>(op, copy, rows, max_rows, clusters, overlap,
                                 stream);
}

}  // namespace chela::cuda
