// ExplicitConvolution for one group of channels. Included by kernel_set.h.
#ifndef CHELA_KERNELS_CPU_EXPLICIT_KERNELS_H_
#define CHELA_KERNELS_CPU_EXPLICIT_KERNELS_H_

#include <cstdint>

#include "kernels/cpu/fft_kernels.h"
#include "kernels/cpu/kernel_table.h"

namespace chela::CHELA_KERNEL_SET {
namespace {

// One token: emits the pending output of row `slot`, completed by the `near`
// inputs just before it, and leaves the input in its place. Four sums, by lag
// mod 4, keep four products in flight.
template <bool kPart>
inline void EmitToken(const ExplicitGroup& group, int64_t token, int64_t slot,
                      int64_t near, bool pending) {
  const float* a = group.a + token * group.row_stride;
  float* c = group.c + token * group.row_stride;
  float* row = group.state + slot * group.channels;
  for (int64_t lane = 0; lane < group.channels; lane += kLanes) {
    const int64_t rest = group.channels - lane;
    const bool part = kPart && rest < kLanes;
    const auto load = [&](const float* p) {
      return part ? LoadPart(p, rest) : Load(p);
    };
    const F u = load(a + lane);
    F sums[4] = {pending ? load(row + lane) : Set(0), Set(0), Set(0), Set(0)};
    const float* tap = group.taps + kGroupChannels + lane;
    const float* input = row - group.channels + lane;
    int64_t left = near;
    for (; left >= 4; left -= 4) {
      for (int k = 0; k < 4; ++k) {
        sums[k] = Fma(load(tap + k * kGroupChannels),
                      load(input - k * group.channels), sums[k]);
      }
      tap += 4 * kGroupChannels;
      input -= 4 * group.channels;
    }
    for (int k = 0; k < 3; ++k) {
      if (k >= left) break;
      sums[k] = Fma(load(tap + k * kGroupChannels),
                    load(input - k * group.channels), sums[k]);
    }
    F sum = Add(Add(sums[0], sums[1]), Add(sums[2], sums[3]));
    sum = Fma(load(group.taps + lane), u, sum);
    sum = Fma(load(group.skip + lane), u, sum);
    if (part) {
      StorePart(c + lane, sum, rest);
      StorePart(row + lane, u, rest);
    } else {
      Store(c + lane, sum);
      Store(row + lane, u);
    }
  }
}

// The tile of U = M where M is too small for a transform: output s needs the
// inputs behind it only, so the rows can be replaced from the first on. Rows
// before `first` belong to no input of this sequence.
inline void RunTriangle(const ExplicitGroup& group, int64_t first) {
  for (int64_t s = 0; s < group.ring; ++s) {
    for (int64_t lane = 0; lane < group.channels; ++lane) {
      float sum = 0;
      for (int64_t i = s + 1 < first ? first : s + 1; i < group.ring; ++i) {
        const float tap =
            group.taps[(group.ring - i + s) * kGroupChannels + lane];
        sum += tap * group.state[i * group.channels + lane];
      }
      group.state[s * group.channels + lane] = sum;
    }
  }
}

// `rows` rows between the state, which is `channels` wide, and working memory,
// kGroupChannels wide; the first `skipped` and the missing channels are 0.
inline void StageIn(const ExplicitGroup& group, const float* from, int64_t rows,
                    int64_t skipped, float* to) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t lane = 0; lane < kGroupChannels; ++lane) {
      to[r * kGroupChannels + lane] = r < skipped || lane >= group.channels
                                          ? 0.0f
                                          : from[r * group.channels + lane];
    }
  }
}
inline void StageOut(const ExplicitGroup& group, const float* from,
                     int64_t rows, bool add, float* to) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t lane = 0; lane < group.channels; ++lane) {
      float* out = to + r * group.channels + lane;
      const float value = from[r * kGroupChannels + lane];
      *out = add ? *out + value : value;
    }
  }
}

// Adds the `size` inputs before row `slot` (M for the end of the ring), of
// which this sequence has seen the last `seen`, to the `size` outputs from
// there on.
inline void RunTile(const ExplicitGroup& group, int64_t size, int64_t slot,
                    int64_t seen, bool add) {
  const bool whole = size == group.ring;
  const int64_t skipped = seen < size ? size - seen : 0;
  if (group.ring <= kNearTaps) return RunTriangle(group, skipped);
  FftTile tile;
  tile.size = size;
  tile.twiddles = group.twiddles;
  // The spectra below this one have near + 2 near + .. + size/2 rows.
  tile.spectrum = group.spectra + (size - group.near) * kRow;
  tile.work = group.work;
  tile.add = add;
  const float* inputs = group.state + (slot - size) * group.channels;
  float* outputs = group.state + (whole ? 0 : slot) * group.channels;
  float* staged = group.work + size * kRow;
  const bool narrow = group.channels < kGroupChannels;
  tile.x = inputs;
  tile.y = outputs;
  if (narrow || skipped > 0) {
    StageIn(group, inputs, size, skipped, staged);
    tile.x = staged;
  }
  if (narrow) {
    tile.y = staged;
    tile.add = false;
  }
  RunFftTile(tile);
  if (narrow) StageOut(group, staged, size, add, outputs);
}

// The first row of the sequence's time (tau) that no tile has reached when the
// token at `tau` comes: rows from there on hold another sequence's leavings.
inline int64_t FirstUntouched(const ExplicitGroup& group, int64_t tau) {
  if (group.position >= group.ring) return INT64_MAX;
  int64_t reached = 0;
  for (int64_t size = group.near; size <= group.ring; size *= 2) {
    const int64_t start = size == group.ring
                              ? tau / size * size
                              : (tau + size) / (2 * size) * (2 * size) - size;
    // A tile at or before the first token had no input and never ran.
    if (start <= group.origin) continue;
    if (start + size > reached) reached = start + size;
  }
  return reached;
}

template <bool kPart>
inline void RunTokens(const ExplicitGroup& group) {
  int64_t tau = group.origin + group.position;
  int64_t untouched = FirstUntouched(group, tau);
  for (int64_t token = 0; token < group.rows; ++token, ++tau) {
    const int64_t seen = group.position + token;
    const int64_t slot = tau & (group.ring - 1);
    const int64_t in_block = tau & (group.near - 1);
    EmitToken<kPart>(group, token, slot, seen < in_block ? seen : in_block,
                     tau < untouched);
    if (in_block != group.near - 1) continue;
    const int64_t low_bit = (tau + 1) & -(tau + 1);
    const int64_t size = low_bit < group.ring ? low_bit : group.ring;
    RunTile(group, size, slot + 1, seen + 1,
            size < group.ring && tau + 1 < untouched);
    if (tau + 1 + size > untouched) untouched = tau + 1 + size;
  }
}

void RunExplicitGroup(const ExplicitGroup& group) {
  if (group.channels % kLanes == 0) {
    RunTokens<false>(group);
  } else {
    RunTokens<true>(group);
  }
}

constexpr void FillExplicitKernels(CpuKernelTable* table) {
  table->explicit_group = RunExplicitGroup;
}

}  // namespace
}  // namespace chela::CHELA_KERNEL_SET

#endif  // CHELA_KERNELS_CPU_EXPLICIT_KERNELS_H_
