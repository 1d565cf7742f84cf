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
class ReplayUpdate {
 public:
  static constexpr int kBlocks = 5;  // of a multiprocessor: their memory fits
  static __host__ __device__ int Floats(const LinearAttention& op) {
    return Entries::Floats(op.replay.period);
  }

  __device__ __forceinline__ explicit ReplayUpdate(const PanelWork& work)
      : work_(work),
        op_(work.op),
        memory_(work.memory),
        entries_(memory_.own, op_.replay.period),
        ring_(op_, work.state.slot, work.state.position, work.at.head),
        aligned_(op_.key_dim % 4 == 0 && op_.value_dim % 4 == 0 &&
                 op_.replay.ring.slot_stride % 4 == 0 &&
                 reinterpret_cast<uintptr_t>(op_.replay.ring.data) % 16 == 0) {
    CopyKeys(0);
    const int thread = static_cast<int>(threadIdx.x);
    if (thread <= ring_.entries + 1) {
      entries_.powers[thread] = Power(work.Decay(), thread);
    }
  }

  // The values of a panel.
  __device__ __forceinline__ void Ask(int column) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int mine = column + 4 * lane;
#pragma unroll 1
    for (int s = static_cast<int>(threadIdx.x) / 32; s < ring_.entries;
         s += kPanelThreads / 32) {
      CopyEntry(
          reinterpret_cast<float4*>(entries_.w + s * kPanelColumns) + lane,
          ring_.values + s * op_.value_dim + mine, op_.value_dim - mine);
    }
  }
  // The keys of a panel that is not the first, which only a period's end needs
  // here.
  __device__ __forceinline__ void AskKeys(int first) const {
    if (!ring_.flush) return;
    __syncthreads();  // the last ones were read
    CopyKeys(first);
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

  // The scores of the entries, each by a warp: lane by lane, then as a tree.
  __device__ __forceinline__ void Prepare() const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll 1
    for (int s = static_cast<int>(threadIdx.x) / 32; s <= ring_.entries;
         s += kPanelThreads / 32) {
      float sum = 0;
      for (int i = lane; i < op_.key_dim; i += 32) {
        sum = fmaf(memory_.q[i], Key(s, i), sum);
      }
      sum = WarpSum(sum);
      if (lane == 0) {
        entries_.scores[s] = entries_.powers[ring_.entries - s] * sum;
      }
    }
  }

  __device__ __forceinline__ void Walk(int first, int column) const {
    if (ring_.flush) {
      WalkEnd(first, column);
      return;
    }
#pragma unroll
    for (int i = 0; i < kThreadGroups; ++i) {
      float sums[4];
      AddState(memory_.Tile(i), first, i, sums);
      memory_.PutSums(i, sums);
    }
  }

  // The entries after S's part.
  __device__ __forceinline__ void Finish(int column, float& low,
                                         float& high) const {
    const float scale = entries_.powers[ring_.entries + 1];
    low *= scale;
    high *= scale;
#pragma unroll 4
    for (int s = 0; s <= ring_.entries; ++s) {
      const float score = entries_.scores[s];
      const float* const w = entries_.w + s * kPanelColumns + column;
      low = fmaf(score, w[0], low);
      high = fmaf(score, w[32], high);
    }
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
  __device__ __forceinline__ static int FirstKey() {
    return static_cast<int>(threadIdx.x) / 32 * kThreadKeys;
  }
  __device__ __forceinline__ float Key(int s, int key) const {
    if (key < kTileKeys) return entries_.k[s * kTileKeys + key];
    return s == ring_.entries ? memory_.k[key]
                              : __ldcg(ring_.keys + s * op_.key_dim + key);
  }

  __device__ __forceinline__ void CopyEntry(float4* to, const float* from,
                                            int count) const {
    if (aligned_) {
      CopyFour(to, from, count > 0, ring_.keys);
    } else {
      CopySome(to, from, count, ring_.keys);
    }
  }
  __device__ __forceinline__ void CopyKeys(int first) const {
    constexpr int kFours = kTileKeys / 4;
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < ring_.entries * kFours;
         i += kPanelThreads) {
      const int key = first + i % kFours * 4;
      CopyEntry(reinterpret_cast<float4*>(entries_.k) + i,
                ring_.keys + i / kFours * op_.key_dim + key, op_.key_dim - key);
    }
  }

  // The sums of group i with S^T q added.
  __device__ __forceinline__ void AddState(const StateTile& tile, int first,
                                           int i, float (&sums)[4]) const {
    float q[4];
    Unpack(reinterpret_cast<const float4*>(
               memory_.q)[(first + FirstKey()) / 4 + i],
           q);
    sums[0] = sums[1] = sums[2] = sums[3] = 0.0f;
    if (first > 0) memory_.LoadSums(i, sums);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int l = 0; l < 4; ++l) sums[l] = fmaf(q[j], tile.s[j][l], sums[l]);
    }
  }

  // Adds the entries to two groups at a time.
  __device__ __forceinline__ void WalkEnd(int first, int column) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const float scale = entries_.powers[ring_.entries + 1];
#pragma unroll
    for (int pair = 0; pair < kThreadGroups; pair += 2) {
      StateTile tiles[2];
      float sums[2][4];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        tiles[i] = memory_.Tile(pair + i);
        AddState(tiles[i], first, pair + i, sums[i]);
        Scale(scale, tiles[i]);
      }
#pragma unroll 1
      for (int s = 0; s <= ring_.entries; ++s) {
        float w[4];
        Unpack(entries_.Values(s, lane), w);
        const float power = entries_.powers[ring_.entries - s];
#pragma unroll
        for (int j = 0; j < 4; ++j) w[j] *= power;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float k[4];
          Unpack(entries_.Keys(s, FirstKey() / 4 + pair + i), k);
          AddOuter(k, w, tiles[i]);
        }
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        StoreGroup(work_, pair + i, tiles[i],
                   first + FirstKey() + 4 * (pair + i), column + 4 * lane);
        memory_.PutSums(pair + i, sums[i]);
      }
    }
  }

  const PanelWork& work_;
  const LinearAttention& op_;
  const PanelShared& memory_;
  const Entries entries_;
  const Ring ring_;
  const bool aligned_;
};

}  // namespace

cudaError_t LaunchReplay(const LinearAttention& op, const RoundedOut& copy,
                         const DecodeRows& rows, int32_t max_rows,
                         bool clusters, bool overlap, cudaStream_t stream) {
  return LaunchRows<ReplayUpdate>(op, copy, rows, max_rows, clusters, overlap,
                                  stream);
}

}  // namespace chela::cuda
