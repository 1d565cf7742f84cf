// The ops of the CUDA backend but the products and the explicit convolution:
// which kernels run for the rows of a step.
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/cuda_matrix.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/cuda/draw.h"
#include "kernels/status_macros.h"
#include "kernels/validate.h"

namespace chela::cuda {

absl::Status CudaBackend::LaunchConvolutions(
    const ShortConvolution* short_conv,
    const HierarchicalConvolution* hierarchical, const char* what) {
  ConvolutionCopies copies;
  if (short_conv != nullptr) {
    const absl::StatusOr<RoundedOut> u =
        RoundedCopyOf(short_conv->u, short_conv->width);
    if (!u.ok()) return u.status();
    copies.u = *u;
    rounded_.Forget(short_conv->a);
  }
  if (hierarchical != nullptr) {
    const absl::StatusOr<RoundedOut> c =
        RoundedCopyOf(hierarchical->c, hierarchical->width);
    if (!c.ok()) return c.status();
    copies.c = *c;
  }
  return Check(LaunchDecode(short_conv, hierarchical, copies, step_.decode(),
                            DecodeGridRows(), modern_, stream_),
               what);
}

absl::StatusOr<RoundedOut> CudaBackend::RoundedCopyOf(const float* result,
                                                      int32_t width) {
  rounded_.Forget(result);
  const bool wanted = half_type_ != DType::kF32 && DecodeGridRows() > 1 &&
                      width % kWeightColumns == 0;
  if (!wanted) return RoundedOut{};
  return rounded_.Make(result, GridRows(step_.rows()), width, half_type_);
}

absl::Status CudaBackend::Run(const Embedding& op) {
  if (Collects(op)) return absl::OkStatus();
  rounded_.Forget(op.out);
  if (!inputs_are_set_) {
    CHELA_RETURN_IF_ERROR(Validate(op, {{}, step_.rows()}));
    CHELA_RETURN_IF_ERROR(Flush());
    if (step_.rows() == 0) return absl::OkStatus();
    CHELA_RETURN_IF_ERROR(step_.SetTokens(
        {op.tokens, static_cast<size_t>(step_.rows())}, stream_));
  }
  if (step_.rows() == 0) return absl::OkStatus();
  const WeightView& table = ViewOf(op.table);
  const EmbeddingRows rows = {.table = table.data,
                              .dtype = table.dtype,
                              .width = table.cols,
                              .stride = table.stride,
                              .multiplier = op.multiplier,
                              .tokens = step_.tokens(),
                              .count = step_.row_count(),
                              .out = op.out};
  return Check(LaunchEmbedding(rows, GridRows(step_.rows()), stream_),
               "an embedding");
}

absl::Status CudaBackend::Run(const ShortConvolution& op) {
  CHELA_RETURN_IF_ERROR(Validate(op));
  if (Collects(op)) return absl::OkStatus();
  CHELA_RETURN_IF_ERROR(Flush());
  if (step_.chunks() > 0) {
    CHELA_RETURN_IF_ERROR(
        Check(LaunchChunks(op, step_.chunk_list().chunks, step_.chunks(),
                           step_.longest_chunk(), modern_, stream_),
              "a short convolution"));
  }
  if (step_.decode_rows() > 0) waiting_short_ = op;
  return absl::OkStatus();
}

absl::Status CudaBackend::Run(const HierarchicalConvolution& op) {
  CHELA_RETURN_IF_ERROR(Validate(op));
  if (Collects(op)) return absl::OkStatus();
  if (step_.decode_rows() > 0) {
    const bool fused = waiting_short_.has_value() &&
                       waiting_short_->a == op.a &&
                       waiting_short_->width == op.width;
    if (!fused) CHELA_RETURN_IF_ERROR(Flush());
    const std::optional<ShortConvolution> first =
        std::exchange(waiting_short_, std::nullopt);
    CHELA_RETURN_IF_ERROR(
        LaunchConvolutions(first.has_value() ? &*first : nullptr, &op,
                           "a hierarchical convolution"));
  }
  if (step_.chunks() == 0) return absl::OkStatus();
  const absl::StatusOr<float*> history =
      chunk_.Get<float>(HistoryFloats(op, step_.rows(), step_.chunks()));
  if (!history.ok()) return history.status();
  return Check(LaunchChunks(op, step_.chunk_list(), *history, processors_,
                            modern_, stream_),
               "a hierarchical convolution");
}

absl::Status CudaBackend::Run(const LinearAttention& op) {
  CHELA_RETURN_IF_ERROR(Validate(op));
  if (Collects(op)) return absl::OkStatus();
  CHELA_RETURN_IF_ERROR(Flush());
  if (step_.decode_rows() > 0) {
    const absl::StatusOr<RoundedOut> copy =
        RoundedCopyOf(op.out, op.heads * op.value_dim);
    if (!copy.ok()) return copy.status();
    const cudaError_t error =
        op.replay.period > 0
            ? LaunchReplay(op, *copy, step_.decode(), DecodeGridRows(),
                           processors_, modern_, modern_, stream_)
            : LaunchDecode(op, *copy, step_.decode(), DecodeGridRows(),
                           processors_, modern_, modern_, stream_);
    CHELA_RETURN_IF_ERROR(Check(error, "a linear attention"));
  }
  if (step_.chunks() == 0) return absl::OkStatus();
  if (op.replay.period > 0) {
    CHELA_RETURN_IF_ERROR(
        Check(LaunchEmptyRings(op, step_.chunk_list(), stream_),
              "a ring of attention"));
  }
  const absl::StatusOr<ChunkScratch> scratch = AttentionScratch(op);
  if (!scratch.ok()) return scratch.status();
  return Check(LaunchChunks(op, *scratch, step_.chunk_list(), modern_, stream_),
               "a linear attention");
}

absl::StatusOr<ChunkScratch> CudaBackend::AttentionScratch(
    const LinearAttention& op) {
  ChunkScratch scratch;
  if (!InBlocks(op)) return scratch;
  scratch.rows = ScratchRows(step_.rows(), step_.chunk_list());
  const int64_t heads = scratch.rows * op.heads;
  const ChunkList chunks = step_.chunk_list();
  const int64_t tiles =
      int64_t{chunks.groups} * op.heads * BlocksOfHead(op, modern_);
  const int64_t state = int64_t{op.heads} * op.key_dim * op.value_dim;
  const int64_t states = (int64_t{chunks.groups} + chunks.count) * state;
  const int64_t halves = chunks.groups * state;
  constexpr int64_t kHeadFloats = 2 * kBlockKeys + kHalfGroup + 4;
  const absl::StatusOr<float*> memory =
      chunk_.Get<float>(heads * kHeadFloats + tiles + states + halves);
  if (!memory.ok()) return memory.status();
  scratch.queries = reinterpret_cast<__half*>(*memory);
  scratch.keys = scratch.queries + heads * 2 * kBlockKeys;
  scratch.scores = scratch.keys + heads * 2 * kBlockKeys;
  scratch.scales =
      reinterpret_cast<float4*>(scratch.scores + heads * 2 * kHalfGroup);
  scratch.states = reinterpret_cast<float*>(scratch.scales + heads);
  scratch.halves = scratch.states + states;
  scratch.exponents = reinterpret_cast<int32_t*>(scratch.halves + halves);
  return scratch;
}

absl::Status CudaBackend::Run(const Draw& op) {
  CHELA_RETURN_IF_ERROR(Flush());
  if (!inputs_are_set_) {
    CHELA_RETURN_IF_ERROR(Validate(op));
    if (op.num_rows == 0) return absl::OkStatus();
    CHELA_RETURN_IF_ERROR(step_.SetDraws(op.inputs, stream_));
  }
  if (op.num_rows == 0) return absl::OkStatus();
  const DrawRows rows = {.logits = op.logits,
                         .vocab = op.vocab,
                         .count = step_.logits_count(),
                         .rules = step_.draws(),
                         .biases = step_.biases(),
                         .counts = step_.counts(),
                         .tokens = op.tokens};
  return Check(
      LaunchDraw(rows, GridRows(op.num_rows), modern_, modern_, stream_),
      "a draw");
}

}  // namespace chela::cuda
