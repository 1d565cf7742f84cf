// The explicit convolution among the CUDA backend's ops.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/explicit_convolution.h"
#include "kernels/cuda/explicit_kernel.h"
#include "kernels/status_macros.h"
#include "kernels/validate.h"

namespace chela::cuda {
namespace {

constexpr int kLogDirectTile = 6;

// What the chunks of a step need: for each phase the sizes of tiles that end in
// it, as bits by their logarithms; 0 in a phase without tokens has bit 0.
class ChunkPlan {
 public:
  ChunkPlan(const CudaExplicitKernel& kernel, int32_t layer,
            std::span<const Chunk> chunks) {
    const ExplicitView& view = kernel.view();
    for (const Chunk& chunk : chunks) {
      for (int32_t group = 0; group < view.groups; ++group) {
        Add(view, chunk.position + kernel.Origin(layer, group), chunk.rows);
      }
    }
  }

  int32_t phases() const { return static_cast<int32_t>(sizes_.size()); }
  bool Has(int32_t phase, int32_t log_size) const {
    return (sizes_[static_cast<size_t>(phase)] >> log_size & 1u) != 0;
  }

 private:
  void Add(const ExplicitView& view, int64_t start, int64_t rows) {
    const int64_t end = start + rows;
    size_t phase = 0;
    for (int64_t period = start >> view.log_ring << view.log_ring; period < end;
         period += view.ring, ++phase) {
      if (phase == sizes_.size()) sizes_.push_back(0);
      const int64_t from = std::max(start, period);
      const int64_t to = std::min(end, period + view.ring);
      for (int32_t log_size = kLogDirectTile + 1; log_size <= view.log_ring;
           ++log_size) {
        const int64_t size = int64_t{1} << log_size;
        const bool ends = log_size == view.log_ring
                              ? to == period + view.ring
                              : (((from + size) & -(2 * size)) + size) <= to;
        if (ends) sizes_[phase] |= uint32_t{1} << log_size;
      }
    }
  }

  std::vector<uint32_t> sizes_;
};

cudaError_t LaunchChunks(const ExplicitConvolution& op,
                         const CudaExplicitKernel& kernel,
                         const ChunkPlan& plan, ChunkPhase phase,
                         cudaStream_t stream) {
  const ExplicitView& view = kernel.view();
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

}  // namespace

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
    CHELA_RETURN_IF_ERROR(
        Check(LaunchTiles(op, view, step_.decode(), DecodeGridRows(),
                          processors_, modern_, stream_),
              "an explicit convolution's tiles"));
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
  return Check(LaunchChunks(op, *kernel, plan, phase, stream_),
               "an explicit convolution");
}

}  // namespace chela::cuda
