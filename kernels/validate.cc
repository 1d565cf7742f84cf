#include "kernels/validate.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"

namespace chela {
namespace {

template <typename... Parts>
absl::Status Refuse(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::Status ValidateMatrix(const Matrix* matrix, const char* name) {
  if (matrix == nullptr) return Refuse(name, ": no matrix; want one");
  return absl::OkStatus();
}

absl::Status ValidateStride(const RowView& view, int64_t width,
                            const char* name) {
  if (view.stride >= width) return absl::OkStatus();
  return Refuse(name, ": stride ", view.stride, "; want at least the width, ",
                width);
}

absl::Status ValidateState(const StateView& state, int64_t floats,
                           const char* name) {
  if (state.slot_stride >= floats) return absl::OkStatus();
  return Refuse(name, ": slot_stride ", state.slot_stride,
                "; want at least the state's ", floats, " floats");
}

absl::Status Validate(const Norm& norm) {
  if (!(norm.eps >= 0.0f)) {
    return Refuse("norm: eps ", norm.eps, "; want 0 or more");
  }
  if (norm.kind != NormKind::kRms && norm.kind != NormKind::kLayer) {
    return Refuse("norm: kind ", static_cast<int>(norm.kind),
                  "; want RMSNorm or LayerNorm");
  }
  if ((norm.kind == NormKind::kLayer) != (norm.bias != nullptr)) {
    return Refuse("norm: ", norm.bias == nullptr ? "no bias" : "a bias",
                  "; want one for LayerNorm and none for RMSNorm");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const StepRows& rows) {
  if (rows.rows < 0)
    return Refuse("step: ", rows.rows, " rows; want 0 or more");
  int64_t next = 0;
  for (const Segment& segment : rows.segments) {
    if (segment.rows < 1 || segment.slot < 0 || segment.position < 0) {
      return Refuse("segment: ", segment.rows, " rows, slot ", segment.slot,
                    ", position ", segment.position,
                    "; want at least 1 row and no negative number");
    }
    if (segment.first_row != next) {
      return Refuse("segment: begins at row ", segment.first_row, "; want row ",
                    next, ", where the last one ends");
    }
    next += segment.rows;
  }
  if (next != rows.rows) {
    return Refuse("step: segments of ", next, " rows; want ", rows.rows);
  }
  return absl::OkStatus();
}

absl::Status ValidatePack(std::span<const MatrixPart> parts, int64_t cols) {
  if (cols < 1) return Refuse("pack: ", cols, " columns; want at least 1");
  if (parts.empty()) return Refuse("pack: no parts; want at least 1");
  for (const MatrixPart& part : parts) {
    if (part.rows < 1 || part.data == nullptr) {
      return Refuse("pack: a part of ", part.rows, " rows",
                    part.data == nullptr ? " without data" : "",
                    "; want at least 1 row, with data");
    }
    if (part.dtype == DType::kI8) {
      return Refuse("pack: a part of type I8; want F32, BF16 or F16");
    }
  }
  return absl::OkStatus();
}

absl::Status Validate(const Embedding& op, const StepRows& step) {
  CHELA_RETURN_IF_ERROR(ValidateMatrix(op.table, "embedding"));
  for (int32_t row = 0; row < step.rows; ++row) {
    if (op.tokens[row] < 0 || op.tokens[row] >= op.table->rows()) {
      return Refuse("embedding: token ", op.tokens[row], " in row ", row,
                    "; want 0 to ", op.table->rows() - 1);
    }
  }
  return absl::OkStatus();
}

absl::Status Validate(const ShortConvolution& op) {
  if (op.width < 1 || op.taps < 1) {
    return Refuse("short convolution: width ", op.width, ", taps ", op.taps,
                  "; want at least 1");
  }
  CHELA_RETURN_IF_ERROR(Validate(op.norm));
  return ValidateState(op.state, int64_t{op.taps - 1} * op.width,
                       "short convolution");
}

absl::Status Validate(const HierarchicalConvolution& op) {
  if (op.width < 1 || op.base_length < 4 || op.base_length % 2 != 0 ||
      op.levels < 1 || op.levels > 40) {
    return Refuse("hierarchical convolution: width ", op.width,
                  ", base_length ", op.base_length, ", levels ", op.levels,
                  "; want width >= 1, an even base_length >= 4 and 1 to 40 "
                  "levels");
  }
  const int64_t rows =
      op.base_length + int64_t{op.levels} * (op.base_length / 2 + 2);
  return ValidateState(op.state, rows * op.width, "hierarchical convolution");
}

absl::Status Validate(const ExplicitConvolution& op) {
  if (op.kernel == nullptr) {
    return Refuse("explicit convolution: no kernel; want one");
  }
  int64_t rows = 1;
  while (rows < op.kernel->length()) rows *= 2;
  return ValidateState(op.state, rows * op.kernel->width(),
                       "explicit convolution");
}

absl::Status Validate(const Linear& op) {
  return ValidateMatrix(op.weight, "linear");
}

absl::Status Validate(const LinearAttention& op) {
  if (op.heads < 1 || op.key_dim < 1 || op.value_dim < 1) {
    return Refuse("linear attention: heads ", op.heads, ", key_dim ",
                  op.key_dim, ", value_dim ", op.value_dim,
                  "; want at least 1");
  }
  if (!(op.norm_eps >= 0.0f)) {
    return Refuse("linear attention: norm_eps ", op.norm_eps,
                  "; want 0 or more");
  }
  if (op.feature_map != FeatureMap::kElu1 &&
      op.feature_map != FeatureMap::kSilu &&
      op.feature_map != FeatureMap::kIdentity) {
    return Refuse("linear attention: feature map ",
                  static_cast<int>(op.feature_map),
                  "; want elu1, silu or "
                  "identity");
  }
  const int64_t keys = int64_t{op.heads} * op.key_dim;
  const int64_t values = int64_t{op.heads} * op.value_dim;
  CHELA_RETURN_IF_ERROR(ValidateStride(op.shared, keys, "shared"));
  CHELA_RETURN_IF_ERROR(ValidateStride(op.value, values, "value"));
  CHELA_RETURN_IF_ERROR(ValidateStride(op.reset, values, "reset"));
  CHELA_RETURN_IF_ERROR(
      ValidateState(op.state, keys * op.value_dim, "linear attention"));
  const AttentionReplay& replay = op.replay;
  if (replay.period == 0) return absl::OkStatus();
  if (replay.period < kMinReplay || replay.period > kMaxReplay ||
      replay.offset < 0) {
    return Refuse("attention replay: period ", replay.period, ", offset ",
                  replay.offset, "; want a period of 0 (off) or ", kMinReplay,
                  " to ", kMaxReplay, " and no negative offset");
  }
  return ValidateState(replay.ring,
                       op.heads * replay.head_floats(op.key_dim, op.value_dim),
                       "attention replay");
}

absl::Status Validate(const GatedOutput& op) {
  CHELA_RETURN_IF_ERROR(ValidateMatrix(op.weight, "gated output"));
  const int64_t width = op.weight->rows();
  CHELA_RETURN_IF_ERROR(ValidateStride(op.candidate, width, "candidate"));
  return ValidateStride(op.gate, width, "gate");
}

absl::Status Validate(const FeedForward& op) {
  CHELA_RETURN_IF_ERROR(ValidateMatrix(op.up, "feed-forward up"));
  CHELA_RETURN_IF_ERROR(ValidateMatrix(op.down, "feed-forward down"));
  CHELA_RETURN_IF_ERROR(Validate(op.norm));
  if (op.kind != FeedForwardKind::kSwiglu &&
      op.kind != FeedForwardKind::kSilu) {
    return Refuse("feed-forward: kind ", static_cast<int>(op.kind),
                  "; want SwiGLU or SiLU");
  }
  const int64_t halves = op.kind == FeedForwardKind::kSwiglu ? 2 : 1;
  if (op.up->rows() != halves * op.down->cols() ||
      op.up->cols() != op.down->rows()) {
    return Refuse("feed-forward: up [", op.up->rows(), ", ", op.up->cols(),
                  "], down [", op.down->rows(), ", ", op.down->cols(),
                  "]; want up [", halves * op.down->cols(), ", ",
                  op.down->rows(), "]");
  }
  return absl::OkStatus();
}

absl::Status Validate(const DrawInputs& inputs, int32_t vocab) {
  const auto num_biases = static_cast<int64_t>(inputs.biases.size());
  const auto num_counts = static_cast<int64_t>(inputs.counts.size());
  const auto inside = [](int64_t first, int64_t count, int64_t size) {
    return first >= 0 && count >= 0 && first + count <= size;
  };
  for (size_t i = 0; i < inputs.rules.size(); ++i) {
    const DrawRule& rule = inputs.rules[i];
    if (!(rule.inverse_temperature == rule.inverse_temperature &&
          rule.uniform >= 0 && rule.uniform < 1 && rule.top_k >= 0 &&
          rule.top_p >= 0 && rule.top_p <= 1 && rule.min_p >= 0 &&
          rule.min_p <= 1 && rule.repetition_penalty > 0 &&
          std::isfinite(rule.presence_penalty) &&
          std::isfinite(rule.frequency_penalty))) {
      return Refuse("draw: row ", i, ": inverse temperature ",
                    rule.inverse_temperature, ", uniform ", rule.uniform,
                    ", top k ", rule.top_k, ", top p ", rule.top_p, ", min p ",
                    rule.min_p, ", penalties ", rule.repetition_penalty, ", ",
                    rule.presence_penalty, ", ", rule.frequency_penalty,
                    "; want numbers in the ranges of draw.h");
    }
    if (!inside(rule.first_bias, rule.num_biases, num_biases) ||
        !inside(rule.first_count, rule.num_counts, num_counts)) {
      return Refuse("draw: row ", i, ": ", rule.num_biases, " biases from ",
                    rule.first_bias, ", ", rule.num_counts, " counts from ",
                    rule.first_count, "; want parts of lists of ", num_biases,
                    " and ", num_counts);
    }
  }
  const auto check = [vocab](int32_t token) {
    return token >= 0 && token < vocab
               ? absl::OkStatus()
               : Refuse("draw: token ", token, "; want [0, ", vocab, ")");
  };
  for (const TokenBias& one : inputs.biases) {
    CHELA_RETURN_IF_ERROR(check(one.token));
  }
  for (const TokenCount& one : inputs.counts) {
    CHELA_RETURN_IF_ERROR(check(one.token));
  }
  return absl::OkStatus();
}

absl::Status Validate(const Draw& op) {
  if (op.vocab < 1 || op.num_rows < 0 ||
      op.inputs.rules.size() != static_cast<size_t>(op.num_rows)) {
    return Refuse("draw: vocab ", op.vocab, ", rows ", op.num_rows, ", rules ",
                  op.inputs.rules.size(),
                  "; want at least 1, at least 0 and one a row");
  }
  return Validate(op.inputs, op.vocab);
}

absl::Status Validate(const LogitsHead& op, const StepRows& step) {
  CHELA_RETURN_IF_ERROR(ValidateMatrix(op.weight, "logits head"));
  CHELA_RETURN_IF_ERROR(Validate(op.norm));
  if (op.num_rows < 0) {
    return Refuse("logits head: ", op.num_rows, " rows; want 0 or more");
  }
  for (int32_t i = 0; i < op.num_rows; ++i) {
    if (op.rows[i] < 0 || op.rows[i] >= step.rows) {
      return Refuse("logits head: row ", op.rows[i], "; want 0 to ",
                    step.rows - 1, ", a row of the step");
    }
  }
  return absl::OkStatus();
}

}  // namespace chela
