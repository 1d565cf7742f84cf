// Kernels of linear attention with replay (kernels/attention_replay.h).
// Included by kernel_set.h.
#ifndef CHELA_KERNELS_CPU_ATTENTION_REPLAY_KERNELS_H_
#define CHELA_KERNELS_CPU_ATTENTION_REPLAY_KERNELS_H_

#include <cstdint>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/simd_math.h"

namespace chela::CHELA_KERNEL_SET {
namespace {

constexpr int64_t kMostEntries = 32;  // the token's included
// Key rows of S that are read side by side.
constexpr int kReplayKeys = kLanes == 1 ? 1 : 8;

// Entry s of the ring, the last one being the token.
inline const float* KeysOf(const ReplayTile& tile, int64_t s) {
  return s == tile.entries ? tile.k : tile.ring_keys + s * tile.key_dim;
}
inline const float* ValuesOf(const ReplayTile& tile, int64_t s) {
  return s == tile.entries ? tile.w : tile.ring_values + s * tile.ring_stride;
}

// l^(n-s) (q . k_s): down each lane, then across the lanes, an order that
// depends on the keys of a head alone.
inline void ReplayScores(const ReplayTile& tile, float* scores) {
  for (int64_t s = 0; s <= tile.entries; ++s) {
    const float* keys = KeysOf(tile, s);
    F sum = Set(0.0f);
    for (int64_t i = 0; i < tile.key_dim; i += kLanes) {
      const int64_t left = tile.key_dim - i;
      sum = Fma(LoadAt(tile.q + i, left), LoadAt(keys + i, left), sum);
    }
    scores[s] = tile.powers[tile.entries - s] * SumLanes(sum);
  }
}

// o += S^T q over key rows [key, key + Keys): so many streams of memory side by
// side. The first block starts o, which gathers its terms in the order of keys.
template <int Keys>
void ReplayKeys(const ReplayTile& tile, int64_t key) {
  const float* rows = tile.state + key * tile.state_stride;
  F q[Keys];
  for (int i = 0; i < Keys; ++i) q[i] = Set(tile.q[key + i]);
  for (int64_t column = 0; column < tile.columns; column += kLanes) {
    const int64_t left = tile.columns - column;
    F o = key == 0 ? Set(0.0f) : LoadAt(tile.o + column, left);
    for (int i = 0; i < Keys; ++i) {
      const float* row = rows + i * tile.state_stride + column;
      Prefetch(row + Keys * tile.state_stride);
      o = Fma(q[i], LoadAt(row, left), o);
    }
    StoreAt(tile.o + column, o, left);
  }
}

void ReplayOutputs(const ReplayTile& tile) {
  float scores[kMostEntries];
  ReplayScores(tile, scores);
  int64_t key = 0;
  for (; !tile.fresh && key + kReplayKeys <= tile.key_dim; key += kReplayKeys) {
    ReplayKeys<kReplayKeys>(tile, key);
  }
  for (; !tile.fresh && key < tile.key_dim; ++key) ReplayKeys<1>(tile, key);
  const F scale = Set(tile.powers[tile.entries + 1]);
  for (int64_t column = 0; column < tile.columns; column += kLanes) {
    const int64_t left = tile.columns - column;
    F o = tile.fresh ? Set(0.0f) : Mul(scale, LoadAt(tile.o + column, left));
    for (int64_t s = 0; s <= tile.entries; ++s) {
      o = Fma(Set(scores[s]), LoadAt(ValuesOf(tile, s) + column, left), o);
    }
    StoreAt(tile.o + column, o, left);
  }
}

void ReplayState(const ReplayTile& tile) {
  const int64_t terms = tile.entries + (tile.q == nullptr ? 0 : 1);
  const F scale = Set(tile.powers[terms]);
  for (int64_t i = 0; i < tile.key_dim; ++i) {
    float factors[kMostEntries];
    for (int64_t s = 0; s < terms; ++s) {
      factors[s] = tile.powers[terms - 1 - s] * KeysOf(tile, s)[i];
    }
    float* row = tile.state + i * tile.state_stride;
    for (int64_t column = 0; column < tile.columns; column += kLanes) {
      const int64_t left = tile.columns - column;
      F state = tile.fresh ? Set(0.0f) : Mul(scale, LoadAt(row + column, left));
      for (int64_t s = 0; s < terms; ++s) {
        state = Fma(Set(factors[s]), LoadAt(ValuesOf(tile, s) + column, left),
                    state);
      }
      StoreAt(row + column, state, left);
    }
  }
}

void RunReplayTile(const ReplayTile& tile) {
  if (tile.q != nullptr) ReplayOutputs(tile);
  if (tile.write) ReplayState(tile);
}

constexpr void FillReplayKernels(CpuKernelTable* table) {
  table->attention_replay = RunReplayTile;
}

}  // namespace
}  // namespace chela::CHELA_KERNEL_SET

#endif  // CHELA_KERNELS_CPU_ATTENTION_REPLAY_KERNELS_H_
