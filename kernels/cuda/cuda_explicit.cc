// The explicit convolution among the CUDA backend's ops.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/explicit_convolution.h"
#include "kernels/cuda/explicit_kernel.h"
#include "kernels/cuda/explicit_parts.h"
#include "kernels/status_macros.h"
#include "kernels/validate.h"

namespace chela::cuda {
namespace {

constexpr int kLogDirectTile = 6;

// What the chunks of a step need.
class ChunkPlan {
 public:
  ChunkPlan(const CudaExplicitKernel& kernel, int32_t layer,
            std::span<const Chunk> chunks) {
    const ExplicitView& view = kernel.view();
    for (const Chunk& chunk : chunks) {
      for (int32_t group = 0; group < view.groups; ++group) {
        const int64_t origin = kernel.Origin(layer, group);
        const int64_t start = chunk.position + origin;
        Add(view, {start, start + chunk.rows}, origin);
      }
    }
  }

  int32_t phases() const { return static_cast<int32_t>(sizes_.size()); }
  // Whether the phase has tokens, or else a tile of that size ends in it.
  bool Has(int32_t phase, int32_t log_size = 0) const {
    return phase < phases() &&
           (sizes_[static_cast<size_t>(phase)] >> log_size & 1u) != 0;
  }
  // Whether any chunk reaches the end of a block.
  bool has_blocks() const { return has_blocks_; }

 private:
  void Add(const ExplicitView& view, const TauRange& chunk, int64_t origin) {
    const int64_t last = view.by_blocks ? 1
                                        : ((chunk.end - 1) >> view.log_ring) -
                                              (chunk.start >> view.log_ring);
    for (int32_t phase = 0; phase <= last; ++phase) {
      AddPart(view, PartOf(view, chunk, origin, phase),
              static_cast<size_t>(phase));
    }
    if (view.by_blocks && chunk.start >> kLogBlock != chunk.end >> kLogBlock) {
      has_blocks_ = true;
    }
  }

  void AddPart(const ExplicitView& view, const TauRange& part, size_t phase) {
    if (part.end <= part.start) return;
    if (phase >= sizes_.size()) sizes_.resize(phase + 1);
    sizes_[phase] |= 1u;
    if (view.by_blocks) return;
    for (int32_t log_size = kLogDirectTile + 1; log_size <= view.log_ring;
         ++log_size) {
      const int64_t size = int64_t{1} << log_size;
      const bool ends =
          size == view.ring
              ? (part.end & (size - 1)) == 0
              : (((part.start + size) & -(2 * size)) + size) <= part.end;
      if (ends) sizes_[phase] |= uint32_t{1} << log_size;
    }
  }

  std::vector<uint32_t> sizes_;  // by phase, bits by log_size
  bool has_blocks_ = false;
};

// The two orders of explicit_convolution.h.
cudaError_t RunPeriods(const ExplicitConvolution& op, const ExplicitView& view,
                       const ChunkPlan& plan, ChunkPhase phase,
                       cudaStream_t stream) {
  for (phase.phase = 0; phase.phase < plan.phases(); ++phase.phase) {
    cudaError_t error = LaunchBegin(op, view, phase, stream);
    for (int32_t size = view.log_ring - 1;
         size > kLogDirectTile && error == cudaSuccess; --size) {
      if (plan.Has(phase.phase, size)) {
        error = LaunchTiles(op, view, phase, size, stream);
      }
    }
    if (error == cudaSuccess) error = LaunchNear(op, view, phase, stream);
    if (error == cudaSuccess && plan.Has(phase.phase, view.log_ring)) {
      error = LaunchTiles(op, view, phase, view.log_ring, stream);
    }
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}
cudaError_t RunBlocks(const ExplicitConvolution& op, const ExplicitView& view,
                      const ChunkPlan& plan, ChunkPhase phase,
                      cudaStream_t stream) {
  cudaError_t error = cudaSuccess;
  for (phase.phase = 0; phase.phase < 2 && error == cudaSuccess;
       ++phase.phase) {
    if (phase.phase == 1 && plan.has_blocks()) {
      error = LaunchBlocks(op, view, phase.chunks, phase.count, stream);
    }
    if (error == cudaSuccess && plan.Has(phase.phase)) {
      error = LaunchEdges(op, view, phase, stream);
    }
  }
  return error;
}

}  // namespace

absl::Status CudaBackend::AddTiles(const ExplicitConvolution& op,
                                   const ExplicitView& view) {
  const ExplicitView& first = tiles_.layers[0].view;
  if (tiles_.count == kMostTileLayers ||
      (tiles_.count > 0 &&
       (first.ring != view.ring || first.width != view.width))) {
    CHELA_RETURN_IF_ERROR(RunTiles());
  }
  tiles_.layers[tiles_.count++] = {view, op.state, op.layer};
  // Outside of RunStep nobody says when the step is over.
  return inputs_are_set_ ? absl::OkStatus() : RunTiles();
}

absl::Status CudaBackend::RunTiles() {
  const cudaError_t error =
      LaunchTiles(tiles_, step_.decode(), DecodeGridRows(), processors_,
                  modern_, static_cast<TileTickets*>(tickets_.data()), stream_);
  tiles_.count = 0;
  return Check(error, "the tiles of explicit convolutions");
}

absl::Status CudaBackend::Run(const ExplicitConvolution& op) {
  CHELA_RETURN_IF_ERROR(Validate(op));
  if (op.layer < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "explicit convolution: layer ", op.layer, "; want at least 0"));
  }
  const auto* kernel = dynamic_cast<const CudaExplicitKernel*>(op.kernel);
  if (kernel == nullptr) {
    return absl::InvalidArgumentError(
        "explicit convolution: the kernel is not the CUDA backend's");
  }
  if (Collects(op)) return absl::OkStatus();
  CHELA_RETURN_IF_ERROR(Flush());
  const ExplicitView& view = kernel->view();
  rounded_.Forget(op.c);
  if (step_.decode_rows() > 0) {
    const absl::StatusOr<RoundedOut> copy = RoundedCopyOf(op.c, view.width);
    if (!copy.ok()) return copy.status();
    CHELA_RETURN_IF_ERROR(Check(LaunchEmit(op, view, *copy, step_.decode(),
                                           DecodeGridRows(), modern_, stream_),
                                "an explicit convolution"));
    CHELA_RETURN_IF_ERROR(AddTiles(op, view));
  }
  if (step_.chunks() == 0) return absl::OkStatus();
  if (view.ring <= kDirectTile) {
    return Check(LaunchShortRing(op, view, step_.chunk_list().chunks,
                                 step_.chunks(), stream_),
                 "an explicit convolution");
  }
  const ChunkPlan plan(*kernel, op.layer, step_.host_chunks());
  const ChunkPhase phase = {.chunks = step_.chunk_list().chunks,
                            .count = step_.chunks(),
                            .longest = step_.longest_chunk()};
  return Check(view.by_blocks ? RunBlocks(op, view, plan, phase, stream_)
                              : RunPeriods(op, view, plan, phase, stream_),
               "an explicit convolution");
}

}  // namespace chela::cuda
