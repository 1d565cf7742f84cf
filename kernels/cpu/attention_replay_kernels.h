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
// Vectors of columns that are summed side by side: as many chains of sums as
// hide an addition's latency.
constexpr int kReplayVectors = 4;
constexpr int64_t kKeysAhead = 8;  // of a column of S, fetched

// Entry s of the ring, the last one being the token.
inline const float* KeysOf(const ReplayTile& tile, int64_t s) {
  return s == tile.entries ? tile.k : tile.ring_keys + s * tile.key_dim;
}
inline const float* ValuesOf(const ReplayTile& tile, int64_t s) {
  return s == tile.entries ? tile.w : tile.ring_values + s * tile.ring_stride;
}

// l^(n-s) (q . k_s), keys in ascending order.
inline void ReplayScores(const ReplayTile& tile, float* scores) {
  for (int64_t s = 0; s <= tile.entries; ++s) {
    const float* keys = KeysOf(tile, s);
    float sum = 0;
    for (int64_t i = 0; i < tile.key_dim; ++i) sum += tile.q[i] * keys[i];
    scores[s] = tile.powers[tile.entries - s] * sum;
  }
}

template <int Vectors>
void ReplayColumns(const ReplayTile& tile, const float* scores,
                   int64_t column) {
  const int64_t left = tile.columns - column;
  F o[Vectors];
  for (int v = 0; v < Vectors; ++v) o[v] = Set(0.0f);
  for (int64_t i = 0; i < tile.key_dim && !tile.fresh; ++i) {
    const float* row = tile.state + i * tile.state_stride + column;
    const F q = Set(tile.q[i]);
    for (int v = 0; v < Vectors; ++v) {
      Prefetch(row + kKeysAhead * tile.state_stride + v * kLanes);
      o[v] = Fma(q, LoadAt(row + v * kLanes, left - v * kLanes), o[v]);
    }
  }
  for (int v = 0; v < Vectors; ++v) {
    o[v] = Mul(Set(tile.powers[tile.entries + 1]), o[v]);
  }
  for (int64_t s = 0; s <= tile.entries; ++s) {
    const float* values = ValuesOf(tile, s) + column;
    for (int v = 0; v < Vectors; ++v) {
      const F w = LoadAt(values + v * kLanes, left - v * kLanes);
      o[v] = Fma(Set(scores[s]), w, o[v]);
    }
  }
  for (int v = 0; v < Vectors; ++v) {
    StoreAt(tile.o + column + v * kLanes, o[v], left - v * kLanes);
  }
}

void ReplayOutputs(const ReplayTile& tile) {
  float scores[kMostEntries];
  ReplayScores(tile, scores);
  constexpr int64_t kWide = kReplayVectors * kLanes;
  int64_t column = 0;
  for (; column + kWide <= tile.columns; column += kWide) {
    ReplayColumns<kReplayVectors>(tile, scores, column);
  }
  for (; column < tile.columns; column += kLanes) {
    ReplayColumns<1>(tile, scores, column);
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
