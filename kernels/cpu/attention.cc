#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/attention_ring.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/linear_attention.h"
#include "kernels/status_macros.h"
#include "kernels/validate.h"

namespace chela {
namespace {

// Tokens whose q, k, w and o stay in the first-level cache while a head's
// state passes by, and value columns a task takes of a long segment.
constexpr int64_t kTokensPerTile = 64;
constexpr int64_t kLongSegment = 16;
constexpr int64_t kColumnsPerTile = 64;

// phi(q), phi(k), w and o of every row of the step, in working memory.
struct Rows {
  float* q;
  float* k;
  float* w;
  float* o;
  int64_t key_stride;    // of q and k
  int64_t value_stride;  // of w and o
};

// Floats from one row to the next: an odd number of cache lines, so that the
// rows of a tile fall into different sets of the first-level cache, which rows
// of a power of two bytes would not.
int64_t RowFloats(int64_t width) { return ((width + 15) / 16 | 1) * 16; }

// Value columns of one task. Columns do not meet, so this changes no bit.
int64_t ColumnsPerTask(const LinearAttention& op, const StepRows& step,
                       int32_t threads) {
  int64_t longest = 0;
  for (const Segment& segment : step.segments) {
    longest = std::max<int64_t>(longest, segment.rows);
  }
  if (longest >= kLongSegment) return kColumnsPerTile;
  const int64_t units = static_cast<int64_t>(step.segments.size()) * op.heads;
  const int64_t parts = (2 * threads + units - 1) / units;
  const int64_t columns = (op.value_dim + parts - 1) / parts;
  return (columns + kColumnsPerTile - 1) / kColumnsPerTile * kColumnsPerTile;
}

// One task: value columns of one head of one segment.
struct Part {
  const LinearAttention& op;
  const Segment& segment;
  int64_t head;
  int64_t first_column;  // of the head
  int64_t columns;
  Rows at;

  int64_t key() const { return head * op.key_dim; }
  int64_t column() const { return head * op.value_dim + first_column; }
  float decay() const { return op.decay == nullptr ? 1.0f : op.decay[head]; }
  float* state() const {
    return op.state.data + segment.slot * op.state.slot_stride +
           key() * op.value_dim + first_column;
  }
};

AttentionTile TileOf(const Part& part, int64_t t) {
  const int64_t row = part.segment.first_row + t;
  return {.tokens = std::min(kTokensPerTile, part.segment.rows - t),
          .key_dim = part.op.key_dim,
          .columns = part.columns,
          .decay = part.decay(),
          .fresh = part.segment.position == 0 && t == 0,
          .q = part.at.q + row * part.at.key_stride + part.key(),
          .k = part.at.k + row * part.at.key_stride + part.key(),
          .key_stride = part.at.key_stride,
          .w = part.at.w + row * part.at.value_stride + part.column(),
          .value_stride = part.at.value_stride,
          .state = part.state(),
          .state_stride = part.op.value_dim,
          .o = part.at.o + row * part.at.value_stride + part.column()};
}

// What a task does of a segment with replay before its tokens, or all of it
// where that is one. Whoever has a head's first column writes its keys.
void RunReplay(const Part& part, const CpuKernelTable& kernels) {
  const AttentionRing ring(part.op, part.segment, part.head);
  const AttentionRing::Powers powers(part.decay());
  ReplayTile tile = {.entries = ring.entries(),
                     .key_dim = part.op.key_dim,
                     .columns = part.columns,
                     .powers = powers.of,
                     .ring_keys = ring.keys(0),
                     .ring_values = ring.values(0) + part.first_column,
                     .ring_stride = part.op.value_dim,
                     .write = true,
                     .state = part.state(),
                     .state_stride = part.op.value_dim};
  if (part.segment.rows > 1) {
    if (ring.entries() > 0) kernels.attention_replay(tile);
    return;
  }
  const AttentionTile token = TileOf(part, 0);
  tile.q = token.q;
  tile.k = token.k;
  tile.w = token.w;
  tile.o = token.o;
  tile.fresh = token.fresh;
  tile.write = ring.flush();
  kernels.attention_replay(tile);
  if (ring.flush()) return;
  std::copy_n(token.w, part.columns,
              ring.values(ring.entries()) + part.first_column);
  if (part.first_column == 0) {
    std::copy_n(token.k, part.op.key_dim, ring.keys(ring.entries()));
  }
}

void SetRings(const LinearAttention& op, const StepRows& step) {
  for (const Segment& segment : step.segments) {
    for (int64_t head = 0; head < op.heads; ++head) {
      const AttentionRing ring(op, segment, head);
      const bool empty = segment.rows > 1 || ring.flush();
      ring.SetEntries(empty ? 0 : ring.entries() + 1);
    }
  }
}

// phi(q), phi(k) and w of rows [begin, end).
void MakeInputs(const LinearAttention& op, const Rows& at,
                const CpuKernelTable& kernels, int64_t begin, int64_t end) {
  const auto make = kernels.attention_input[static_cast<int>(op.feature_map)];
  for (int64_t row = begin; row < end; ++row) {
    make({.keys = int64_t{op.heads} * op.key_dim,
          .values = int64_t{op.heads} * op.value_dim,
          .shared = op.shared.data + row * op.shared.stride,
          .value = op.value.data + row * op.value.stride,
          .q_scale = op.q_scale,
          .q_bias = op.q_bias,
          .k_scale = op.k_scale,
          .k_bias = op.k_bias,
          .q = at.q + row * at.key_stride,
          .k = at.k + row * at.key_stride,
          .w = at.w + row * at.value_stride});
  }
}

// Norm and gate of rows [begin, end).
void WriteOutputs(const LinearAttention& op, const Rows& at,
                  const CpuKernelTable& kernels, int64_t begin, int64_t end) {
  const int64_t values = int64_t{op.heads} * op.value_dim;
  for (int64_t i = begin * op.heads; i < end * op.heads; ++i) {
    const int64_t row = i / op.heads;
    const int64_t column = i % op.heads * op.value_dim;
    kernels.attention_output(
        {.value_dim = op.value_dim,
         .eps = op.norm_eps,
         .reset = op.reset.data + row * op.reset.stride + column,
         .weight = op.norm_weight + column,
         .o = at.o + row * at.value_stride + column,
         .out = op.out + row * values + column});
  }
}

}  // namespace

absl::Status CpuBackend::Run(const LinearAttention& op) {
  CHELA_RETURN_IF_ERROR(Validate(op));
  if (step_.rows == 0) return absl::OkStatus();
  const int64_t rows = step_.rows;
  const int64_t keys = int64_t{op.heads} * op.key_dim;
  const int64_t values = int64_t{op.heads} * op.value_dim;
  const int64_t key_stride = RowFloats(keys);
  const int64_t value_stride = RowFloats(values);
  float* room = activations_.Get<float>(2 * rows * (key_stride + value_stride));
  if (room == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("CPU memory: none for ", rows, " rows of attention"));
  }
  float* const w = room + 2 * rows * key_stride;
  const Rows at{.q = room,
                .k = room + rows * key_stride,
                .w = w,
                .o = w + rows * value_stride,
                .key_stride = key_stride,
                .value_stride = value_stride};
  ForRanges(rows, keys + values, [&](int64_t begin, int64_t end) {
    MakeInputs(op, at, kernels_, begin, end);
  });

  const int64_t columns = ColumnsPerTask(op, step_, pool_.threads());
  const int64_t tiles = (op.value_dim + columns - 1) / columns;
  const auto run_tile = [&](int64_t task) {
    const int64_t first_column = task % tiles * columns;
    const int64_t head = task / tiles % op.heads;
    const Segment& segment =
        step_.segments[static_cast<size_t>(task / tiles / op.heads)];
    const Part part = {op,
                       segment,
                       head,
                       first_column,
                       std::min(columns, op.value_dim - first_column),
                       at};
    if (op.replay.period > 0) {
      RunReplay(part, kernels_);
      if (segment.rows == 1) return;
    }
    for (int64_t t = 0; t < segment.rows; t += kTokensPerTile) {
      kernels_.attention_tile(TileOf(part, t));
    }
  };
  const auto tasks =
      static_cast<int64_t>(step_.segments.size()) * op.heads * tiles;
  const int64_t work = rows * op.key_dim * values;
  ForTasks(tasks, work / tasks, run_tile);
  if (op.replay.period > 0) SetRings(op, step_);

  ForRanges(rows, values, [&](int64_t begin, int64_t end) {
    WriteOutputs(op, at, kernels_, begin, end);
  });
  return absl::OkStatus();
}

}  // namespace chela
