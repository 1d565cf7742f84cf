#include <algorithm>
#include <cstdint>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/work_items.h"
#include "kernels/status_macros.h"
#include "kernels/validate.h"

namespace chela {
namespace {

// Channels that go through a long segment together: their state and taps,
// copied to one place, stay in the first- and second-level caches (rows of a
// power of two bytes, where they are, would fall on the same few lines).
constexpr int64_t kTileChannels = 64;

// A short segment is bound by memory and reads rows in place, in longer
// streams: so many tiles at once.
constexpr int64_t kTilesOfAShortSegment = 4;
constexpr int64_t kLongSegment = 8;  // tokens

// Nanoseconds of a tile for one token, in a long segment and where taps and
// state come from memory, and what a thread must get to be worth calling.
constexpr int64_t kTileTokenNs = 60;
constexpr int64_t kColdTileTokenNs = 600;
constexpr int64_t kWorthAThreadNs = 2000;

struct Sizes {
  explicit Sizes(const HierarchicalConvolution& op)
      : taps0(op.base_length),
        taps(int64_t{op.levels} * (op.base_length / 2)),
        state(op.base_length + int64_t{op.levels} * (op.base_length / 2 + 2)) {}
  int64_t taps0;  // rows
  int64_t taps;
  int64_t state;
  int64_t copied() const { return (taps0 + taps + state) * kTileChannels; }
};

void CopyRows(const float* from, int64_t from_stride, float* to,
              int64_t to_stride, int64_t rows, int64_t channels) {
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(to + r * to_stride, from + r * from_stride,
                static_cast<size_t>(channels) * sizeof(float));
  }
}

HierarchicalTile MakeTile(const HierarchicalConvolution& op,
                          const Segment& segment, int64_t channel,
                          int64_t channels) {
  const int64_t first = int64_t{segment.first_row} * op.width + channel;
  HierarchicalTile tile;
  tile.channels = std::min(channels, op.width - channel);
  tile.base_length = op.base_length;
  tile.levels = op.levels;
  tile.position = segment.position;
  tile.rows = segment.rows;
  tile.a = op.a + first;
  tile.c = op.c + first;
  tile.row_stride = op.width;
  tile.taps0 = op.taps0 + channel;
  tile.taps = op.taps + channel;
  tile.taps_stride = op.width;
  tile.skip = op.skip + channel;
  tile.state = op.state.data + segment.slot * op.state.slot_stride + channel;
  tile.state_stride = op.width;
  return tile;
}

// Runs `tile` on copies of its taps and state in `memory`, and puts the state
// back.
void RunOnCopies(HierarchicalTile tile, const Sizes& sizes, float* memory,
                 const CpuKernelTable& kernels) {
  const HierarchicalTile in_place = tile;
  float* const taps0 = memory;
  float* const taps = taps0 + sizes.taps0 * kTileChannels;
  float* const state = taps + sizes.taps * kTileChannels;
  const auto gather = [&](const float* from, int64_t stride, int64_t rows,
                          float* to) {
    CopyRows(from, stride, to, kTileChannels, rows, tile.channels);
  };
  gather(tile.taps0, tile.taps_stride, sizes.taps0, taps0);
  gather(tile.taps, tile.taps_stride, sizes.taps, taps);
  gather(tile.state, tile.state_stride, sizes.state, state);
  tile.taps0 = taps0;
  tile.taps = taps;
  tile.taps_stride = kTileChannels;
  tile.state = state;
  tile.state_stride = kTileChannels;
  kernels.hierarchical_tile(tile);
  CopyRows(state, kTileChannels, in_place.state, in_place.state_stride,
           sizes.state, tile.channels);
}

}  // namespace

absl::Status CpuBackend::Run(const HierarchicalConvolution& op) {
  CHELA_RETURN_IF_ERROR(Validate(op));
  if (step_.rows == 0) return absl::OkStatus();
  const Sizes sizes(op);
  const int64_t tiles = (op.width + kTileChannels - 1) / kTileChannels;
  const int64_t segments = static_cast<int64_t>(step_.segments.size());
  const int64_t cost =
      tiles * std::max(kTileTokenNs * step_.rows, kColdTileTokenNs * segments);
  const int64_t workers =
      std::clamp<int64_t>(cost / kWorthAThreadNs, 1, pool_.threads());
  float* const copies = convolution_.Get<float>(workers * sizes.copied());
  if (copies == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "hierarchical convolution: no memory for ", workers, " x ",
        sizes.copied() * sizeof(float), " bytes of working memory"));
  }

  // Tile by tile, so that segments that follow each other share the taps.
  ForItems(pool_, workers, segments * tiles, [&](int64_t worker, int64_t item) {
    const Segment& segment = step_.segments[item % segments];
    const int64_t index = item / segments;
    const int64_t channel = index * kTileChannels;
    if (segment.rows >= kLongSegment) {
      RunOnCopies(MakeTile(op, segment, channel, kTileChannels), sizes,
                  copies + worker * sizes.copied(), kernels_);
    } else if (index % kTilesOfAShortSegment == 0) {
      kernels_.hierarchical_tile(MakeTile(
          op, segment, channel, kTilesOfAShortSegment * kTileChannels));
    }
  });
  return absl::OkStatus();
}

}  // namespace chela
