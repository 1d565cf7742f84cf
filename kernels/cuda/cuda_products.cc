// The products among the CUDA backend's ops.
#include <optional>
#include <utility>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/cuda_matrix.h"
#include "kernels/cuda/product.h"
#include "kernels/status_macros.h"
#include "kernels/validate.h"

namespace chela::cuda {
namespace {

Product ProductOf(const Linear& op) {
  Product product;
  product.weight = ViewOf(op.weight);
  product.x = op.x;
  product.x_stride = op.weight->cols();
  product.finish.bias = op.bias;
  product.finish.out = op.out;
  product.finish.out_stride = op.weight->rows();
  return product;
}

}  // namespace

absl::Status CudaBackend::Flush() {
  if (waiting_short_.has_value()) {
    const ShortConvolution op = *std::exchange(waiting_short_, std::nullopt);
    CHELA_RETURN_IF_ERROR(
        LaunchConvolutions(&op, nullptr, "a short convolution"));
  }
  if (waiting_linear_.has_value()) {
    const Linear op = *std::exchange(waiting_linear_, std::nullopt);
    return Multiply(ProductOf(op));
  }
  return absl::OkStatus();
}

void CudaBackend::UseRoundedCopy(Product* product) const {
  const WeightView& weight = product->weight;
  if (product->normed || product->rounded != nullptr ||
      weight.stride != weight.cols) {
    return;
  }
  product->rounded = rounded_.Find(product->x, weight.cols, weight.dtype);
}

absl::StatusOr<ProductLaunch> CudaBackend::LaunchOf(const WeightView& weight,
                                                    int32_t max_rows) {
  ProductLaunch launch;
  launch.max_rows = max_rows;
  launch.processors = processors_;
  launch.overlap = modern_;
  launch.stream = stream_;
  const absl::StatusOr<NormStatistics*> statistics =
      statistics_.Get<NormStatistics>(max_rows);
  if (!statistics.ok()) return statistics.status();
  launch.statistics = *statistics;
  if (weight.dtype == DType::kF32) return launch;
  const absl::StatusOr<uint16_t*> left =
      wide_left_.Get<uint16_t>(int64_t{2} * max_rows * weight.stride);
  if (!left.ok()) return left.status();
  launch.left = *left;
  return launch;
}

absl::Status CudaBackend::Multiply(const Product& product) {
  Product part = product;
  if (product.weight.dtype == DType::kF32) {
    part.count = step_.row_count();
    const absl::StatusOr<ProductLaunch> launch =
        LaunchOf(part.weight, GridRows(step_.rows()));
    if (!launch.ok()) return launch.status();
    return Check(Launch(part, *launch), "a product");
  }
  if (step_.decode_rows() > 0) {
    const absl::StatusOr<ProductLaunch> launch =
        LaunchOf(part.weight, DecodeGridRows());
    if (!launch.ok()) return launch.status();
    UseRoundedCopy(&part);
    part.count = step_.decode().count;
    part.in_rows = step_.decode().rows;
    part.out_rows = part.in_rows;
    CHELA_RETURN_IF_ERROR(Check(Launch(part, *launch), "a product"));
  }
  return step_.chunks() > 0 ? MultiplyChunks(product) : absl::OkStatus();
}

absl::StatusOr<const void*> CudaBackend::RoundedRows(
    const Product& product, const StepMemory::Range& range) {
  const int64_t stride = product.weight.stride;
  if (product.rounded != nullptr) {
    return static_cast<const uint16_t*>(product.rounded) +
           range.first_row * stride;
  }
  const absl::StatusOr<uint16_t*> left =
      left_.Get<uint16_t>(range.rows * stride);
  if (!left.ok()) return left.status();
  CHELA_RETURN_IF_ERROR(Check(LaunchRound(product, range.first_row, range.rows,
                                          *left, modern_, stream_),
                              "a rounding"));
  return *left;
}

absl::Status CudaBackend::MultiplyChunks(const Product& product) {
  for (const StepMemory::Range& range : step_.ranges()) {
    const absl::StatusOr<const void*> left = RoundedRows(product, range);
    if (!left.ok()) return left.status();
    const absl::StatusOr<std::optional<LargeProducts::Ends>> ends =
        large_->EndsOf(product.weight, product.finish, range.first_row);
    if (!ends.ok()) return ends.status();
    if (ends->has_value()) {
      CHELA_RETURN_IF_ERROR(
          large_->Run(product.weight, *left, range.rows, **ends, stream_));
      continue;
    }
    const absl::StatusOr<float*> sums =
        sums_.Get<float>(int64_t{range.rows} * product.weight.rows);
    if (!sums.ok()) return sums.status();
    CHELA_RETURN_IF_ERROR(large_->Run(product.weight, *left, range.rows,
                                      {.out = *sums}, stream_));
    CHELA_RETURN_IF_ERROR(
        Check(LaunchFinish(product.weight, product.finish, *sums,
                           range.first_row, range.rows, modern_, stream_),
              "the end of a product"));
  }
  return absl::OkStatus();
}

absl::Status CudaBackend::Run(const Linear& op) {
  CHELA_RETURN_IF_ERROR(Validate(op));
  if (Collects(op)) return absl::OkStatus();
  rounded_.Forget(op.out);
  if (step_.rows() == 0) return absl::OkStatus();
  // A product that reads what the waiting one writes is no second of a pair.
  const bool second =
      waiting_linear_.has_value() && waiting_linear_->out != op.x;
  if (step_.chunks() > 0) {
    CHELA_RETURN_IF_ERROR(Flush());
    return Multiply(ProductOf(op));
  }
  if (!second) {
    CHELA_RETURN_IF_ERROR(Flush());
    waiting_linear_ = op;
    return absl::OkStatus();
  }
  Product first = ProductOf(*std::exchange(waiting_linear_, std::nullopt));
  Product next = ProductOf(op);
  const absl::StatusOr<ProductLaunch> launch =
      LaunchOf(first.weight, DecodeGridRows());
  if (!launch.ok()) return launch.status();
  for (Product* product : {&first, &next}) {
    UseRoundedCopy(product);
    product->count = step_.decode().count;
    product->in_rows = step_.decode().rows;
    product->out_rows = product->in_rows;
  }
  return Check(LaunchPair(first, next, *launch), "two products");
}

absl::Status CudaBackend::Run(const GatedOutput& op) {
  CHELA_RETURN_IF_ERROR(Validate(op));
  if (Collects(op)) return absl::OkStatus();
  rounded_.Forget(op.out);
  CHELA_RETURN_IF_ERROR(Flush());
  if (step_.rows() == 0) return absl::OkStatus();
  Product product;
  product.weight = ViewOf(op.weight);
  product.x = op.x;
  product.x_stride = op.weight->cols();
  product.finish = {.kind = Finish::kGated,
                    .residual = op.residual,
                    .candidate = op.candidate.data,
                    .gate = op.gate.data,
                    .candidate_stride = op.candidate.stride,
                    .gate_stride = op.gate.stride,
                    .out = op.out,
                    .out_stride = op.weight->rows()};
  return Multiply(product);
}

absl::Status CudaBackend::Run(const FeedForward& op) {
  CHELA_RETURN_IF_ERROR(Validate(op));
  if (Collects(op)) return absl::OkStatus();
  rounded_.Forget(op.out);
  CHELA_RETURN_IF_ERROR(Flush());
  if (step_.rows() == 0) return absl::OkStatus();
  const int64_t inner = op.down->cols();
  const absl::StatusOr<float*> activations =
      inner_.Get<float>(int64_t{GridRows(step_.rows())} * inner);
  if (!activations.ok()) return activations.status();
  Product up;
  up.weight = ViewOf(op.up);
  up.x = op.y;
  up.x_stride = op.up->cols();
  up.normed = true;
  up.norm = op.norm;
  up.finish.kind =
      op.kind == FeedForwardKind::kSwiglu ? Finish::kSwiglu : Finish::kSilu;
  up.finish.out = *activations;
  up.finish.out_stride = inner;
  Product down;
  down.weight = ViewOf(op.down);
  const bool wide = step_.decode_rows() == 0
                        ? down.weight.dtype != DType::kF32
                        : IsWide(down.weight, DecodeGridRows());
  if (wide && down.weight.stride == inner) {
    const absl::StatusOr<uint16_t*> rounded =
        wide_inner_.Get<uint16_t>(int64_t{GridRows(step_.rows())} * inner);
    if (!rounded.ok()) return rounded.status();
    up.finish.rounded = *rounded;
    down.rounded = *rounded;
  }
  CHELA_RETURN_IF_ERROR(Multiply(up));
  down.x = *activations;
  down.x_stride = inner;
  down.finish.kind = Finish::kResidual;
  down.finish.residual = op.y;
  down.finish.out = op.out;
  down.finish.out_stride = op.down->rows();
  return Multiply(down);
}

absl::Status CudaBackend::Run(const LogitsHead& op) {
  CHELA_RETURN_IF_ERROR(RunCollected());
  if (!inputs_are_set_) {
    CHELA_RETURN_IF_ERROR(Validate(op, {{}, step_.rows()}));
    CHELA_RETURN_IF_ERROR(Flush());
    if (op.num_rows == 0) return absl::OkStatus();
    CHELA_RETURN_IF_ERROR(step_.SetLogitsRows(
        {op.rows, static_cast<size_t>(op.num_rows)}, stream_));
  }
  CHELA_RETURN_IF_ERROR(Flush());
  if (op.num_rows == 0) return absl::OkStatus();
  Product product;
  product.weight = ViewOf(op.weight);
  product.x = op.x;
  product.x_stride = op.weight->cols();
  product.normed = true;
  product.norm = op.norm;
  product.count = step_.logits_count();
  product.in_rows = step_.logits_rows();
  product.finish.out = op.logits;
  product.finish.out_stride = op.weight->rows();
  const absl::StatusOr<ProductLaunch> launch =
      LaunchOf(product.weight, GridRows(op.num_rows));
  if (!launch.ok()) return launch.status();
  return Check(Launch(product, *launch), "the logits");
}

}  // namespace chela::cuda
