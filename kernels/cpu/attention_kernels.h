// Kernels of linear attention. Included by kernel_set.h.
#ifndef CHELA_KERNELS_CPU_ATTENTION_KERNELS_H_
#define CHELA_KERNELS_CPU_ATTENTION_KERNELS_H_

#include <cstdint>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/simd_math.h"

namespace chela::CHELA_KERNEL_SET {
namespace {

// Key rows by vectors of value columns of S that stay in registers. More keys
// load w and o less often, which is what many tokens gain by; one token is
// bound by memory, and reads better in fewer streams. o gathers its terms key
// by key either way.
constexpr int kStateKeys = kLanes == 1 ? 1 : 4;
constexpr int kStateKeysOfMany = kLanes == 16 ? 8 : kStateKeys;
constexpr int kStateVectors = 2;

inline F Identity(F x) { return x; }

template <F (*kFeature)(F)>
void AttentionInput(const AttentionInputRow& row) {
  for (int64_t j = 0; j < row.keys; j += kLanes) {
    const int64_t left = row.keys - j;
    const F zz = Silu(LoadAt(row.shared + j, left));
    const F q =
        Fma(LoadAt(row.q_scale + j, left), zz, LoadAt(row.q_bias + j, left));
    const F k =
        Fma(LoadAt(row.k_scale + j, left), zz, LoadAt(row.k_bias + j, left));
    StoreAt(row.q + j, kFeature(q), left);
    StoreAt(row.k + j, kFeature(k), left);
  }
  SiluRow(row.value, row.values, row.w);
}

// Tokens [0, tile.tokens) on key rows [key, key + Keys) and the columns of
// Vectors vectors from `column`; `left` columns are real. o gathers its terms
// in the order of the keys: the first block starts it, later ones go on.
template <int Keys, int Vectors>
void AttentionBlock(const AttentionTile& tile, int64_t key, int64_t column) {
  const int64_t left = tile.columns - column;
  float* state = tile.state + key * tile.state_stride + column;
  F s[Keys][Vectors];
  for (int i = 0; i < Keys; ++i) {
    for (int v = 0; v < Vectors; ++v) {
      s[i][v] = tile.fresh ? Set(0.0f)
                           : LoadAt(state + i * tile.state_stride + v * kLanes,
                                    left - v * kLanes);
      // The next block of keys: several streams of a few lines each are more
      // than the processor sees through by itself.
      Prefetch(state + (Keys + i) * tile.state_stride + v * kLanes);
    }
  }
  const F decay = Set(tile.decay);
  for (int64_t t = 0; t < tile.tokens; ++t) {
    const float* q = tile.q + t * tile.key_stride + key;
    const float* k = tile.k + t * tile.key_stride + key;
    const float* w = tile.w + t * tile.value_stride + column;
    float* out = tile.o + t * tile.value_stride + column;
    for (int v = 0; v < Vectors; ++v) {
      const int64_t rest = left - v * kLanes;
      const F value = LoadAt(w + v * kLanes, rest);
      F o = key == 0 ? Set(0.0f) : LoadAt(out + v * kLanes, rest);
#pragma GCC unroll 8
      for (int i = 0; i < Keys; ++i) {
        s[i][v] = Fma(Set(k[i]), value, Mul(decay, s[i][v]));
        o = Fma(Set(q[i]), s[i][v], o);
      }
      StoreAt(out + v * kLanes, o, rest);
    }
  }
  for (int i = 0; i < Keys; ++i) {
    for (int v = 0; v < Vectors; ++v) {
      StoreAt(state + i * tile.state_stride + v * kLanes, s[i][v],
              left - v * kLanes);
    }
  }
}

template <int Keys>
void AttentionKeys(const AttentionTile& tile, int64_t key) {
  int64_t column = 0;
  constexpr int64_t kWide = kStateVectors * kLanes;
  for (; column + kWide <= tile.columns; column += kWide) {
    AttentionBlock<Keys, kStateVectors>(tile, key, column);
  }
  for (; column < tile.columns; column += kLanes) {
    AttentionBlock<Keys, 1>(tile, key, column);
  }
}

template <int Keys>
void AttentionColumns(const AttentionTile& tile) {
  int64_t key = 0;
  for (; key + Keys <= tile.key_dim; key += Keys) {
    AttentionKeys<Keys>(tile, key);
  }
  for (; key < tile.key_dim; ++key) AttentionKeys<1>(tile, key);
}

void RunAttentionTile(const AttentionTile& tile) {
  if (tile.tokens > 1) {
    AttentionColumns<kStateKeysOfMany>(tile);
  } else {
    AttentionColumns<kStateKeys>(tile);
  }
}

void AttentionOutput(const AttentionOutputRow& row) {
  const F scale = Set(InverseRoot(SumOfSquares(row.o, 0.0f, row.value_dim),
                                  row.value_dim, row.eps));
  for (int64_t j = 0; j < row.value_dim; j += kLanes) {
    const int64_t left = row.value_dim - j;
    const F o =
        Mul(Mul(LoadAt(row.o + j, left), scale), LoadAt(row.weight + j, left));
    StoreAt(row.out + j, Mul(Silu(LoadAt(row.reset + j, left)), o), left);
  }
}

constexpr void FillAttentionKernels(CpuKernelTable* table) {
  table->attention_input[0] = AttentionInput<Elu1>;
  table->attention_input[1] = AttentionInput<Silu>;
  table->attention_input[2] = AttentionInput<Identity>;
  table->attention_tile = RunAttentionTile;
  table->attention_output = AttentionOutput;
}

}  // namespace
}  // namespace chela::CHELA_KERNEL_SET

#endif  // CHELA_KERNELS_CPU_ATTENTION_KERNELS_H_
