// Decode rows of the linear attention with replay (kernels/attention_replay.h).
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_ring.cuh"
#include "kernels/cuda/attention_rows.cuh"

namespace chela::cuda {
namespace {

// The entries of a ring that a block shares, the token's last: keys and values
// of a panel.
struct Entries {
  static __host__ __device__ int Floats(int period) {
    return period * (kTileKeys + kPanelColumns) + 2 * kMaxReplay + 4;
  }
  __device__ Entries(float* memory, int period)
      : k(memory),
        w(k + period * kTileKeys),
        powers(w + period * kPanelColumns),
        scores(powers + kMaxReplay + 4) {}
  __device__ __forceinline__ float4 Keys(int s, int group) const {
    return reinterpret_cast<const float4*>(k + s * kTileKeys)[group];
  }
  __device__ __forceinline__ float4 Values(int s, int lane) const {
    return reinterpret_cast<const float4*>(w + s * kPanelColumns)[lane];
  }
  float* k;       // [period, 64]
  float* w;       // [period, 128]
  float* powers;  // [33]: decay^0 ..
  float* scores;  // [32]: decay^(n-s) (q . k_s)
};

// S is read; where a period ends it becomes
// decay^(n+1) S + sum_s decay^(n-s) k_s w_s^T (AttendRows).
template <bool kOnce>
class ReplayUpdate {
 public:
  static constexpr int kBlocks = kOnce ? 6 : 3;  // of a multiprocessor
  static __host__ __device__ int Floats(const LinearAttention& op) {
    return Entries::Floats(op.replay.period);
  }

  __device__ __forceinline__ explicit ReplayUpdate(const PanelWork<kOnce>& work)
      : work_(work),
        op_(work.op),
        memory_(work.memory),
        entries_(memory_.own, op_.replay.period),
        ring_(op_, work.state.slot, work.state.position, work.at.head),
        aligned_(op_.key_dim % 4 == 0 && op_.value_dim % 4 == 0 &&
                 op_.replay.ring.slot_stride % 4 == 0 &&
                 reinterpret_cast<uintptr_t>(op_.replay.ring.data) % 16 == 0) {
    CopyKeys(0, 0, ring_.expected);
    CopyValues(work.at.FirstColumn(0), 0, ring_.expected);
    // After a chunk there are fewer, and the token's place must not be written
    // late. Of a state from elsewhere there may be more.
    if (ring_.entries < ring_.expected) {
      WaitForCopies();
      __syncthreads();
    }
    CopyKeys(0, ring_.expected, ring_.entries);
    CopyValues(work.at.FirstColumn(0), ring_.expected, ring_.entries);
    const int thread = static_cast<int>(threadIdx.x);
    if (thread <= ring_.entries + 1) {
      entries_.powers[thread] = Power(work.Decay(), thread);
    }
  }

  // The values of a panel that is not the first.
  __device__ __forceinline__ void AskValues(int column) const {
    CopyValues(column, 0, ring_.entries);
  }
  // The keys of a panel that is not the first, which only a period's end needs
  // here.
  __device__ __forceinline__ void AskKeys(int first) const {
    if (!ring_.flush) return;
    __syncthreads();  // the last ones were read
    CopyKeys(first, 0, ring_.entries);
    const int thread = static_cast<int>(threadIdx.x);
    if (thread < kTileKeys) {
      entries_.k[ring_.entries * kTileKeys + thread] =
          memory_.k[first + thread];
    }
    WaitForCopies();
    __syncthreads();
  }
  __device__ __forceinline__ void TakeKey(int key, float k) const {
    if (key < kTileKeys) entries_.k[ring_.entries * kTileKeys + key] = k;
    if (FirstBlock() && !ring_.flush && key < op_.key_dim) {
      ring_.keys[ring_.entries * op_.key_dim + key] = k;
    }
  }
  __device__ __forceinline__ void TakeValue(int first, float w) const {
    const int thread = static_cast<int>(threadIdx.x);
    entries_.w[ring_.entries * kPanelColumns + thread] = w;
    if (!ring_.flush && first + thread < op_.value_dim) {
      ring_.values[ring_.entries * op_.value_dim + first + thread] = w;
    }
  }

  // The scores of the entries, each by eight lanes: lane by lane, then as a
  // tree.
  __device__ __forceinline__ void Prepare() const {
    const int part = static_cast<int>(threadIdx.x) % 8;
    const int mine = static_cast<int>(threadIdx.x) / 8;
    // As far as any entry of the warp goes.
    for (int s = mine; s - mine % 4 <= ring_.entries; s += kPanelThreads / 8) {
      float sum = 0;
      if (s <= ring_.entries) {
        for (int i = part * 4; i < op_.key_dim; i += 32) {
          sum = AddProducts(s, i, sum);
        }
      }
#pragma unroll
      for (int offset = 4; offset > 0; offset /= 2) {
        sum += __shfl_xor_sync(kWholeWarp, sum, offset);
      }
      if (part == 0 && s <= ring_.entries) {
        entries_.scores[s] = entries_.powers[ring_.entries - s] * sum;
      }
    }
  }

  // `tile` is the first group.
  __device__ __forceinline__ void Walk(int first, int column,
                                       StateTile tile) const {
    float first_sums[4];
    float sums[4];
    AddState(tile, first, 0, first_sums);
    if (ring_.flush) AddEntries(tile, first, 0, column);
#pragma unroll 1
    for (int i = 1; i < kThreadGroups; ++i) {
      tile = memory_.Tile(i);
      if (i == 1) memory_.PutSums(0, first_sums);
      AddState(tile, first, i, sums);
      if (ring_.flush) AddEntries(tile, first, i, column);
      memory_.PutSums(i, sums);
    }
  }

  // The entries after S's part.
  __device__ __forceinline__ float Finish(int column, float sum) const {
    sum *= entries_.powers[ring_.entries + 1];
#pragma unroll 4
    for (int s = 0; s <= ring_.entries; ++s) {
      sum =
          fmaf(entries_.scores[s], entries_.w[s * kPanelColumns + column], sum);
    }
    return sum;
  }

  // Every block of the head has read the count.
  __device__ __forceinline__ void End() const {
    if (!FirstBlock() || threadIdx.x != 0) return;
    *ring_.count = ring_.flush ? 0.0f : static_cast<float>(ring_.entries + 1);
  }

 private:
  __device__ __forceinline__ bool FirstBlock() const {
    return work_.at.rank == 0;
  }
  // Four of the products of an entry's keys with the token's queries.
  __device__ __forceinline__ float AddProducts(int s, int key,
                                               float sum) const {
    float q[4];
    float k[4];
    Unpack(reinterpret_cast<const float4*>(memory_.q)[key / 4], q);
    if (kOnce || key < kTileKeys) {
      Unpack(entries_.Keys(s, key / 4), k);
    } else if (s == ring_.entries) {
      Unpack(reinterpret_cast<const float4*>(memory_.k)[key / 4], k);
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        k[j] = key + j < op_.key_dim
                   ? __ldcg(ring_.keys + s * op_.key_dim + key + j)
                   : 0.0f;
      }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) sum = fmaf(q[j], k[j], sum);
    return sum;
  }
  __device__ __forceinline__ void CopyEntry(float4* to, const float* from,
                                            int count) const {
    if (aligned_) {
      CopyFour(to, from, count > 0, ring_.keys);
    } else {
      CopySome(to, from, count, ring_.keys);
    }
  }
  // The keys from `first` on of entries begin .. end - 1.
  __device__ __forceinline__ void CopyKeys(int first, int begin,
                                           int end) const {
    constexpr int kFours = kTileKeys / 4;
#pragma unroll 1
    for (int i = begin * kFours + static_cast<int>(threadIdx.x);
         i < end * kFours; i += kPanelThreads) {
      const int key = first + i % kFours * 4;
      CopyEntry(reinterpret_cast<float4*>(entries_.k) + i,
                ring_.keys + i / kFours * op_.key_dim + key, op_.key_dim - key);
    }
  }
  __device__ __forceinline__ void CopyValues(int column, int begin,
                                             int end) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int mine = column + 4 * lane;
#pragma unroll 1
    for (int s = begin + static_cast<int>(threadIdx.x) / 32; s < end;
         s += kPanelThreads / 32) {
      CopyEntry(
          reinterpret_cast<float4*>(entries_.w + s * kPanelColumns) + lane,
          ring_.values + s * op_.value_dim + mine, op_.value_dim - mine);
    }
  }

  // The sums of group i with S^T q added.
  __device__ __forceinline__ void AddState(const StateTile& tile, int first,
                                           int i, float (&sums)[4]) const {
    float q[4];
    Unpack(reinterpret_cast<const float4*>(
               memory_.q)[(first + FirstKey()) / 4 + i],
           q);
    memory_.LoadSums(first, i, sums);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int l = 0; l < 4; ++l) sums[l] = fmaf(q[j], tile.s[j][l], sums[l]);
    }
  }

  // Where a period ends: the entries added to group i, and that written back.
  __device__ __forceinline__ void AddEntries(StateTile& tile, int first, int i,
                                             int column) const {
    Scale(entries_.powers[ring_.entries + 1], tile);
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll 1
    for (int s = 0; s <= ring_.entries; ++s) {
      const float power = entries_.powers[ring_.entries - s];
      float k[4];
      float w[4];
      Unpack(entries_.Keys(s, FirstKey() / 4 + i), k);
      Unpack(entries_.Values(s, lane), w);
#pragma unroll
      for (int j = 0; j < 4; ++j) k[j] *= power;
      AddOuter(k, w, tile);
    }
    work_.Group(first + FirstKey() + 4 * i, column)
        .Store(tile, work_.state.data);
  }

  const PanelWork<kOnce>& work_;
  const LinearAttention& op_;
  const PanelShared<kOnce>& memory_;
  const Entries entries_;
  const Ring ring_;
  const bool aligned_;
};

}  // namespace

cudaError_t LaunchReplay(const LinearAttention& op, const RoundedOut& copy,
                         const DecodeRows& rows, int32_t max_rows,
                         int32_t processors, bool clusters, bool overlap,
                         cudaStream_t stream) {
  return LaunchRows<ReplayUpdate>(op, copy, rows, max_rows, processors,
                                  clusters, overlap, stream);
}

}  // namespace chela::cuda
