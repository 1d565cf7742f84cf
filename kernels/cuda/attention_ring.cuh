// The ring of attention replay (kernels/attention_replay.h) on the device.
#ifndef CHELA_KERNELS_CUDA_ATTENTION_RING_CUH_
#define CHELA_KERNELS_CUDA_ATTENTION_RING_CUH_

#include <cstdint>

#include "kernels/cuda/attention_tiles.cuh"

namespace chela::cuda {

inline constexpr int kMostEntries = kMaxReplay;  // the token's included
inline constexpr int kReplayWarps = kTileThreads / 32;

// One head's ring as a step finds it.
struct Ring {
  float* keys;    // [period, key_dim]
  float* values;  // [period, value_dim]
  float* count;
  int entries;
  bool flush;  // the token ends a period

  __device__ Ring(const LinearAttention& op, int64_t slot, int64_t position,
                  int head) {
    const AttentionReplay& replay = op.replay;
    const int64_t period = replay.period;
    keys = replay.ring.data + slot * replay.ring.slot_stride +
           head * period * (op.key_dim + op.value_dim);
    values = keys + period * op.key_dim;
    count = keys + (period - 1) * op.key_dim;
    const bool fresh = position == 0;
    // A state may come from anybody: a count that is none counts as 0.
    const float stored = fresh ? 0.0f : __ldcg(count);
    const bool counts =
        stored >= 1.0f && stored <= static_cast<float>(period - 1);
    entries = counts ? static_cast<int>(stored) : 0;
    const uint64_t place = static_cast<uint64_t>(position) +
                           static_cast<uint64_t>(replay.offset) +
                           static_cast<uint64_t>(head);
    flush = fresh || entries == replay.period - 1 ||
            place % static_cast<uint64_t>(period) == 0;
  }
};

// What the threads of a block share of a ring.
struct Scores {
  float powers[kMaxReplay + 1];  // decay^0 ..
  float of[kMostEntries];        // decay^(n-s) (q . k_s)
};

// A warp sums the keys of an entry, lane by lane, then as a tree.
__device__ __forceinline__ void MakeScores(const LinearAttention& op,
                                           const Ring& ring,
                                           const TileShared& memory,
                                           Scores& scores) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int s = static_cast<int>(threadIdx.x) / 32; s <= ring.entries;
       s += kReplayWarps) {
    const bool token = s == ring.entries;
    const float* const keys = ring.keys + s * op.key_dim;
    float sum = 0;
    for (int i = lane; i < op.key_dim; i += 32) {
      sum = fmaf(memory.q[i], token ? memory.k[i] : __ldcg(keys + i), sum);
    }
    sum = WarpSum(sum);
    if (lane == 0) scores.of[s] = scores.powers[ring.entries - s] * sum;
  }
}

// The values of entry s at a thread's columns: raw sums of the token, which are
// not there before the wait, or what the ring has; 0 where there is no entry.
__device__ __forceinline__ void LoadEntry(const LinearAttention& op,
                                          const Ring& ring, const float* value,
                                          int s, int column, float (&w)[4]) {
  if (s > ring.entries) {
#pragma unroll
    for (int j = 0; j < 4; ++j) w[j] = 0.0f;
    return;
  }
  LoadValues(op, s == ring.entries ? value : ring.values + s * op.value_dim,
             column, w);
}

// The token's values are raw sums until here.
__device__ __forceinline__ void FinishEntry(const Ring& ring, int s,
                                            float (&w)[4]) {
  if (s != ring.entries) return;
#pragma unroll
  for (int j = 0; j < 4; ++j) w[j] = Silu(w[j]);  // of 0 is 0
}

// The part of entry s at a thread's columns, added to its sums; the token's is
// kept in the ring.
__device__ __forceinline__ void AddEntry(const LinearAttention& op,
                                         const Ring& ring, const Scores& scores,
                                         int s, int column, const float (&w)[4],
                                         float (&sums)[4]) {
  if (s > ring.entries) return;
  const float score = scores.of[s];
#pragma unroll
  for (int j = 0; j < 4; ++j) sums[j] = fmaf(score, w[j], sums[j]);
  if (s < ring.entries || ring.flush) return;
  float* const to = ring.values + s * op.value_dim + column;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (column + j < op.value_dim) to[j] = w[j];
  }
}

// Where a period ends the threads share the entries of a tile, the token's
// included: keys scaled by their powers.
struct EntryTile {
  float4 k[kMostEntries][kKeyGroups];        // [entry, 64 keys]
  float4 w[kMostEntries][kTileColumns / 4];  // [entry, 64 columns]
};

__device__ __forceinline__ void ShareKeys(const LinearAttention& op,
                                          const Ring& ring,
                                          const TileShared& memory,
                                          const Scores& scores, int first,
                                          EntryTile& entries) {
  float* const to = reinterpret_cast<float*>(entries.k);
  for (int i = static_cast<int>(threadIdx.x);
       i < (ring.entries + 1) * kTileKeys; i += kTileThreads) {
    const int s = i / kTileKeys;
    const int key = first + i % kTileKeys;
    float k = 0.0f;
    if (key < op.key_dim) {
      k = s == ring.entries ? memory.k[key]
                            : __ldcg(ring.keys + s * op.key_dim + key);
    }
    to[i] = scores.powers[ring.entries - s] * k;
  }
}

// S = scale S + sum_s k_s w_s^T for a thread's part of what is shared.
__device__ __forceinline__ void AddEntries(const EntryTile& entries, int count,
                                           float scale, int g, int c,
                                           StateTile& tile) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) tile.s[i][j] *= scale;
  }
  for (int s = 0; s < count; ++s) {
    const float4 k = entries.k[s][g];
    const float4 w = entries.w[s][c];
    const float keys[4] = {k.x, k.y, k.z, k.w};
    const float values[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        tile.s[i][j] = fmaf(keys[i], values[j], tile.s[i][j]);
      }
    }
  }
}

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ATTENTION_RING_CUH_
