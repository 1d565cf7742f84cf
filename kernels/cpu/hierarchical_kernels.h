// HierarchicalConvolution for one tile of channels. Included by kernel_set.h.
#ifndef CHELA_KERNELS_CPU_HIERARCHICAL_KERNELS_H_
#define CHELA_KERNELS_CPU_HIERARCHICAL_KERNELS_H_

#include <cstdint>

#include "kernels/cpu/kernel_table.h"

namespace chela::CHELA_KERNEL_SET {
namespace {

// Rows of one level, newest first from row `newest`, going round at `length`.
// Of those, the `count` that the sequence has seen.
struct LevelRows {
  const float* data = nullptr;
  int64_t stride = 0;
  int64_t length = 0;
  int64_t newest = 0;
  int64_t count = 0;
};

// body(first channel, load, store) for every vector of `channels`, the last
// one maybe in part.
template <typename Body>
inline void ForVectors(int64_t channels, const Body& body) {
  int64_t j = 0;
  for (; j + kLanes <= channels; j += kLanes) {
    body(
        j, [](const float* p) { return Load(p); },
        [](float* p, F x) { Store(p, x); });
  }
  const int64_t rest = channels - j;
  if (rest == 0) return;
  body(
      j, [rest](const float* p) { return LoadPart(p, rest); },
      [rest](float* p, F x) { StorePart(p, x, rest); });
}

// sums += taps[m] rows[m] for kTaps values of m, in their order.
template <int kTaps>
inline void AddTaps(const float* const* rows, const float* taps,
                    int64_t taps_stride, int64_t channels, float* sums) {
  ForVectors(channels, [&](int64_t j, auto load, auto store) {
    F sum = load(sums + j);
    for (int k = 0; k < kTaps; ++k) {
      sum = Fma(load(taps + k * taps_stride + j), load(rows[k] + j), sum);
    }
    store(sums + j, sum);
  });
}

// sums += sum_m taps[m] rows[m], in the order of m. Four rows at a time, each
// from end to end: few enough streams to be prefetched, and a quarter of the
// loads and stores of `sums`.
inline void AddLevel(const LevelRows& rows, const float* taps,
                     int64_t taps_stride, int64_t channels, float* sums) {
  int64_t row = rows.newest;
  for (int64_t m = 0; m < rows.count;) {
    const float* next[4];
    int64_t taken = 0;
    for (; taken < 4 && m + taken < rows.count; ++taken) {
      next[taken] = rows.data + row * rows.stride;
      row = row == 0 ? rows.length - 1 : row - 1;
    }
    const float* tap = taps + m * taps_stride;
    if (taken == 4) {
      AddTaps<4>(next, tap, taps_stride, channels, sums);
    } else {
      for (int64_t k = 0; k < taken; ++k) {
        AddTaps<1>(next + k, tap + k * taps_stride, taps_stride, channels,
                   sums);
      }
    }
    m += taken;
  }
}

// out = from; a null `from` counts as 0.
inline void CopyRow(const float* from, int64_t channels, float* out) {
  ForVectors(channels, [&](int64_t j, auto load, auto store) {
    store(out + j, from == nullptr ? Set(0) : load(from + j));
  });
}

inline void MeanOfTwo(const float* x, const float* y, int64_t channels,
                      float* out) {
  ForVectors(channels, [&](int64_t j, auto load, auto store) {
    store(out + j, Mul(Set(0.5f), Add(load(x + j), load(y + j))));
  });
}

// c = c + coarser + skip . a; a null `coarser` counts as 0.
inline void FinishOutput(const float* coarser, const float* skip,
                         const float* a, int64_t channels, float* c) {
  ForVectors(channels, [&](int64_t j, auto load, auto store) {
    F sum = load(c + j);
    if (coarser != nullptr) sum = Add(sum, load(coarser + j));
    store(c + j, Fma(load(skip + j), load(a + j), sum));
  });
}

// Where the parts of a tile's state stand.
class TileState {
 public:
  explicit TileState(const HierarchicalTile& tile)
      : tile_(tile),
        half_(tile.base_length / 2),
        sums_(tile.state + (tile.base_length + tile.levels * (half_ + 1)) *
                               tile.state_stride) {}

  int64_t Length(int64_t level) const {
    return level == 0 ? tile_.base_length : half_ + 1;
  }
  float* Level(int64_t level) const {
    const int64_t row =
        level == 0 ? 0 : tile_.base_length + (level - 1) * (half_ + 1);
    return tile_.state + row * tile_.state_stride;
  }
  // Of a block (a position, at level 0) by its index in the sequence.
  float* Block(int64_t level, int64_t index) const {
    return Level(level) + index % Length(level) * tile_.state_stride;
  }
  // The sum of levels level .. S.
  float* Sum(int64_t level) const {
    return sums_ + (level - 1) * tile_.state_stride;
  }
  // The newest block that `level`'s ring holds when `seen` tokens are known;
  // negative if there is none yet.
  int64_t Newest(int64_t level, int64_t seen) const {
    return (seen >> level) - half_;
  }

 private:
  const HierarchicalTile& tile_;
  int64_t half_;
  float* sums_;
};

// Lets the blocks that are complete after `seen` tokens into their rings, and
// brings the sums of their levels up to date.
inline void AdvanceLevels(const HierarchicalTile& tile, const TileState& state,
                          int64_t seen) {
  const int64_t half = tile.base_length / 2;
  int64_t changed = __builtin_ctzll(static_cast<uint64_t>(seen));
  if (changed > tile.levels) changed = tile.levels;
  for (int64_t level = 1; level <= changed; ++level) {
    const int64_t newest = state.Newest(level, seen);
    if (newest < 0) break;  // so it is in all coarser levels
    MeanOfTwo(state.Block(level - 1, 2 * newest),
              state.Block(level - 1, 2 * newest + 1), tile.channels,
              state.Block(level, newest));
  }
  for (int64_t level = changed; level >= 1; --level) {
    const int64_t held = state.Newest(level, seen) + 1;
    const int64_t count = held < 0 ? 0 : (held < half ? held : half);
    const LevelRows rows = {state.Level(level), tile.state_stride, half + 1,
                            count == 0 ? 0 : (held - 1) % (half + 1), count};
    // A coarser level that never changed has no sum yet.
    const bool coarser = level < tile.levels && (seen >> (level + 1)) > 0;
    CopyRow(coarser ? state.Sum(level + 1) : nullptr, tile.channels,
            state.Sum(level));
    AddLevel(rows, tile.taps + (level - 1) * half * tile.taps_stride,
             tile.taps_stride, tile.channels, state.Sum(level));
  }
}

void RunHierarchicalTile(const HierarchicalTile& tile) {
  const TileState state(tile);
  const int64_t length = tile.base_length;
  int64_t row = tile.position % length;
  for (int64_t r = 0; r < tile.rows; ++r) {
    const float* a = tile.a + r * tile.row_stride;
    float* c = tile.c + r * tile.row_stride;
    const int64_t seen = tile.position + r + 1;
    CopyRow(a, tile.channels, state.Level(0) + row * tile.state_stride);
    AdvanceLevels(tile, state, seen);
    const LevelRows rows = {state.Level(0), tile.state_stride, length, row,
                            seen < length ? seen : length};
    CopyRow(nullptr, tile.channels, c);
    AddLevel(rows, tile.taps0, tile.taps_stride, tile.channels, c);
    FinishOutput(seen < 2 ? nullptr : state.Sum(1), tile.skip, a, tile.channels,
                 c);
    row = row + 1 == length ? 0 : row + 1;
  }
}

constexpr void FillHierarchicalKernels(CpuKernelTable* table) {
  table->hierarchical_tile = RunHierarchicalTile;
}

}  // namespace
}  // namespace chela::CHELA_KERNEL_SET

#endif  // CHELA_KERNELS_CPU_HIERARCHICAL_KERNELS_H_
