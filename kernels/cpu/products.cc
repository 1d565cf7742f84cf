// The ops that are matrix products, and the embedding, which reads the same
// panels.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/packed_matrix.h"
#include "kernels/cpu/work_items.h"
#include "kernels/status_macros.h"
#include "kernels/validate.h"

namespace chela {
namespace {

// Rows whose left operands stay in a core's second-level cache while panels
// pass by.
constexpr int64_t kRowsPerTask = 96;
// Multiply-adds below which a product is over before another thread has woken.
constexpr int64_t kSerialWork = 1 << 16;
// Weights that a waiting thread may fetch: they stay in its second-level cache.
constexpr int64_t kFetchBytes = 384 << 10;

const PackedMatrix& Packed(const Matrix* matrix) {
  return *static_cast<const PackedMatrix*>(matrix);
}

// Four bytes an element, so that a row can be made as floats and rounded in
// place; an odd number of cache lines, so that rows fall into different sets.
int64_t LeftRowBytes(int64_t cols) {
  return (((cols + 1) * 4 + 63) / 64 | 1) * 64;
}

absl::Status NoScratch(int64_t bytes) {
  return absl::ResourceExhaustedError(
      absl::StrCat("CPU memory: no ", bytes, " bytes for activations"));
}

}  // namespace

const float* CpuBackend::NormalizeTo(const Norm& norm, const float* x,
                                     int64_t width, float* out) {
  kernels_.normalize(
      {.x = x,
       .weight = norm.weight,
       .bias = norm.kind == NormKind::kLayer ? norm.bias : nullptr,
       .eps = norm.eps,
       .width = width,
       .out = out});
  return out;
}

absl::Status CpuBackend::MakeLeft(
    const PackedMatrix& matrix, int64_t rows,
    absl::FunctionRef<const float*(int64_t row, float* room)> make_row,
    ProductTask* task) {
  const int64_t stride = LeftRowBytes(matrix.cols());
  std::byte* left = left_.Get<std::byte>(rows * stride);
  if (left == nullptr) return NoScratch(rows * stride);
  const auto round = kernels_.round_row[static_cast<int>(matrix.dtype())];
  ForRanges(rows, matrix.cols(), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      std::byte* to = left + row * stride;
      round(make_row(row, reinterpret_cast<float*>(to)), matrix.cols(), to);
    }
  });
  task->left = left;
  task->left_stride = stride;
  return absl::OkStatus();
}

void CpuBackend::Multiply(const PackedMatrix& matrix, int64_t rows,
                          ProductTask task) {
  const auto product = kernels_.product[static_cast<int>(matrix.dtype())];
  const int64_t panels = PackedMatrix::Panels(matrix.rows());
  task.panels = matrix.panels();
  task.scales = matrix.scales();
  task.rows = matrix.rows();
  task.cols = matrix.cols();
  const int64_t row_parts = (rows + kRowsPerTask - 1) / kRowsPerTask;
  const PanelSpan next =
      order_.Visit({task.panels, panels,
                    PackedMatrix::PanelBytes(task.cols, matrix.dtype())});
  for (int32_t thread = 0; thread < pool_.threads(); ++thread) {
    const int64_t first = ShareBegin(pool_, next.count, thread);
    pool_.FetchWhileWaiting(
        thread,
        static_cast<const char*>(next.panels) + first * next.panel_bytes,
        std::min(kFetchBytes, (next.count - first) * next.panel_bytes));
  }
  const auto run = [&](int64_t index) {
    const int64_t row_part = index / panels;
    ProductTask part = task;
    part.row_begin = static_cast<int32_t>(rows * row_part / row_parts);
    part.row_end = static_cast<int32_t>(rows * (row_part + 1) / row_parts);
    part.panel_begin = index % panels;
    part.panel_end = part.panel_begin + 1;
    product(part);
  };
  if (rows * matrix.rows() * matrix.cols() <= kSerialWork) {
    for (int64_t index = 0; index < row_parts * panels; ++index) run(index);
  } else {
    ForShares(pool_, row_parts * panels, run);
  }
}

absl::Status CpuBackend::Run(const Embedding& op) {
  CHELA_RETURN_IF_ERROR(Validate(op, step_));
  const PackedMatrix& table = Packed(op.table);
  const auto embed = kernels_.embed[static_cast<int>(table.dtype())];
  const int64_t width = table.cols();
  // A row's elements lie in as many cache lines.
  ForRanges(step_.rows, 8 * width, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      embed({.panels = table.panels(),
             .scales = table.scales(),
             .cols = width,
             .token = op.tokens[row],
             .multiplier = op.multiplier,
             .out = op.out + row * width});
    }
  });
  return absl::OkStatus();
}

absl::Status CpuBackend::Run(const Linear& op) {
  CHELA_RETURN_IF_ERROR(Validate(op));
  if (step_.rows == 0) return absl::OkStatus();
  const PackedMatrix& weight = Packed(op.weight);
  ProductTask task{.finish = Finish::kBias,
                   .bias = op.bias,
                   .out = op.out,
                   .out_stride = weight.rows()};
  CHELA_RETURN_IF_ERROR(MakeLeft(
      weight, step_.rows,
      [&](int64_t row, float*) { return op.x + row * weight.cols(); }, &task));
  Multiply(weight, step_.rows, task);
  return absl::OkStatus();
}

absl::Status CpuBackend::Run(const GatedOutput& op) {
  CHELA_RETURN_IF_ERROR(Validate(op));
  if (step_.rows == 0) return absl::OkStatus();
  const PackedMatrix& weight = Packed(op.weight);
  ProductTask task{.finish = Finish::kGated,
                   .residual = op.residual,
                   .candidate = op.candidate.data,
                   .candidate_stride = op.candidate.stride,
                   .gate = op.gate.data,
                   .gate_stride = op.gate.stride,
                   .out = op.out,
                   .out_stride = weight.rows()};
  CHELA_RETURN_IF_ERROR(MakeLeft(
      weight, step_.rows,
      [&](int64_t row, float*) { return op.x + row * weight.cols(); }, &task));
  Multiply(weight, step_.rows, task);
  return absl::OkStatus();
}

absl::Status CpuBackend::Run(const FeedForward& op) {
  CHELA_RETURN_IF_ERROR(Validate(op));
  if (step_.rows == 0) return absl::OkStatus();
  const PackedMatrix& up = Packed(op.up);
  const PackedMatrix& down = Packed(op.down);
  const int64_t inner = down.cols();
  float* sums = activations_.Get<float>(step_.rows * up.rows());
  if (sums == nullptr) return NoScratch(4 * step_.rows * up.rows());

  ProductTask first{.out = sums, .out_stride = up.rows()};
  CHELA_RETURN_IF_ERROR(MakeLeft(
      up, step_.rows,
      [&](int64_t row, float* room) {
        return NormalizeTo(op.norm, op.y + row * up.cols(), up.cols(), room);
      },
      &first));
  Multiply(up, step_.rows, first);

  ProductTask second{.finish = Finish::kResidual,
                     .residual = op.y,
                     .out = op.out,
                     .out_stride = down.rows()};
  CHELA_RETURN_IF_ERROR(MakeLeft(
      down, step_.rows,
      [&](int64_t row, float* room) {
        const float* gate = sums + row * up.rows();
        if (op.kind == FeedForwardKind::kSwiglu) {
          kernels_.swiglu(gate, gate + inner, inner, room);
        } else {
          kernels_.silu(gate, inner, room);
        }
        return room;
      },
      &second));
  Multiply(down, step_.rows, second);
  return absl::OkStatus();
}

absl::Status CpuBackend::Run(const LogitsHead& op) {
  CHELA_RETURN_IF_ERROR(Validate(op, step_));
  if (op.num_rows == 0) return absl::OkStatus();
  const PackedMatrix& weight = Packed(op.weight);
  ProductTask task{.out = op.logits, .out_stride = weight.rows()};
  CHELA_RETURN_IF_ERROR(MakeLeft(
      weight, op.num_rows,
      [&](int64_t i, float* room) {
        return NormalizeTo(op.norm, op.x + op.rows[i] * weight.cols(),
                           weight.cols(), room);
      },
      &task));
  Multiply(weight, op.num_rows, task);
  return absl::OkStatus();
}

}  // namespace chela
