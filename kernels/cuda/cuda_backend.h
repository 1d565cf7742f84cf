#ifndef CHELA_KERNELS_CUDA_CUDA_BACKEND_H_
#define CHELA_KERNELS_CUDA_CUDA_BACKEND_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/collected_step.h"
#include "kernels/cuda/device_buffer.h"
#include "kernels/cuda/explicit_convolution.h"
#include "kernels/cuda/large_products.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/rounded_copies.h"
#include "kernels/cuda/step_graphs.h"
#include "kernels/cuda/step_memory.h"

namespace chela::cuda {

// One CUDA device and one stream. Ops are enqueued; faults surface at Download
// at the latest.
//
// A row's kernels are chosen by its own segment: one token is a decode row
// (products.h, bound by memory), more are a chunk (cuBLASLt). Short and long
// convolution, and the two products of a layer's input, become one kernel each
// where decode rows pass through them one after the other: the first op of such
// a pair waits for the second, or for anything else. A step of one decode row
// is one kernel where the model's shape allows it (whole_step.h): its ops are
// collected until their logits are asked for.
//
// Threads: owned by one thread.
class CudaBackend final : public Backend {
 public:
  static absl::StatusOr<std::unique_ptr<Backend>> Create(
      const BackendOptions& options);
  ~CudaBackend() override;

  BackendInfo Info() const override { return info_; }
  int64_t FreeBytes() const override;
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t bytes) override;
  absl::Status Upload(const void* host, void* device, size_t bytes) override;
  absl::Status Download(const void* device, void* host, size_t bytes) override;
  absl::Status Copy(const void* from, void* to, size_t bytes) override;
  absl::Status Clear(void* device, size_t bytes) override;
  absl::StatusOr<std::unique_ptr<Matrix>> Pack(
      std::span<const MatrixPart> parts, int64_t cols, DType dtype) override;
  absl::StatusOr<std::unique_ptr<ExplicitKernel>> MakeExplicitKernel(
      const float* kernel, int32_t width, int64_t length) override;

  absl::Status BeginStep(const StepRows& rows) override;
  absl::Status RunStep(const StepRows& rows,
                       const StepProgram& program) override;
  absl::Status Run(const Embedding& op) override;
  absl::Status Run(const ShortConvolution& op) override;
  absl::Status Run(const HierarchicalConvolution& op) override;
  absl::Status Run(const ExplicitConvolution& op) override;
  absl::Status Run(const Linear& op) override;
  absl::Status Run(const LinearAttention& op) override;
  absl::Status Run(const GatedOutput& op) override;
  absl::Status Run(const FeedForward& op) override;
  absl::Status Run(const LogitsHead& op) override;
  bool draws_tokens() const override { return true; }
  absl::Status Run(const Draw& op) override;

 private:
  explicit CudaBackend(int device) : device_(device) {}
  absl::Status Open();
  // Makes this the calling thread's device.
  absl::Status Enter() const;
  // Launches what waits for a second op.
  absl::Status Flush();
  // Whether `op` was put aside, as one of those before the logits.
  template <typename Op>
  bool Collects(const Op& op) {
    if (collected_.has_value()) collected_->emplace_back(op);
    return collected_.has_value();
  }
  // The tiles of an explicit convolution's decode rows wait for the end of the
  // step, when all layers' run side by side: only the next step needs them.
  absl::Status AddTiles(const ExplicitConvolution& op,
                        const ExplicitView& view);
  absl::Status RunTiles();
  // Runs what was put aside, at once or op by op.
  absl::Status RunCollected();
  // Rows that a grid is made for: the bucket of a graph, or the rows there are.
  int32_t GridRows(int32_t rows) const;
  int32_t DecodeGridRows() const { return GridRows(step_.decode_rows()); }

  // A launch for products of `weight`'s kind.
  absl::StatusOr<ProductLaunch> LaunchOf(const WeightView& weight,
                                         int32_t max_rows);
  // Where an op of decode rows leaves a rounded copy of `result` for the
  // products that read it; nowhere, if they would not take it.
  absl::StatusOr<RoundedOut> RoundedCopyOf(const float* result, int32_t width);
  // The copy that an earlier op made of a product's left operand, if any.
  void UseRoundedCopy(Product* product) const;
  // Working memory for the chunks of this step.
  absl::StatusOr<ChunkScratch> AttentionScratch(const LinearAttention& op);
  absl::Status LaunchConvolutions(const ShortConvolution* short_conv,
                                  const HierarchicalConvolution* hierarchical,
                                  const char* what);
  // A product of every row of the step. scratch_rows: the left operand stands
  // in memory of this backend, by row of the step.
  absl::Status Multiply(const Product& product);
  absl::Status MultiplyChunks(const Product& product);
  // The left operand's rows of a range, rounded.
  absl::StatusOr<const void*> RoundedRows(const Product& product,
                                          const StepMemory::Range& range);
  absl::Status Check(cudaError_t error, const char* op) const;

  const int device_;
  BackendInfo info_;
  bool modern_ = false;  // clusters and early starts: 9.0 and newer
  int32_t processors_ = 1;
  int64_t shared_bytes_ = 0;  // that a thread block may have
  cudaStream_t stream_ = nullptr;
  StepMemory step_;
  bool inputs_are_set_ = false;  // the program's, by RunStep
  int32_t bucket_ = 0;           // of a step that is or will be a graph
  StepGraphs graphs_;
  WholeSteps whole_steps_;
  WholeSteps::Device whole_device_;
  uint64_t program_ = 0;  // of the step
  std::optional<std::vector<StepOp>> collected_;
  std::unique_ptr<LargeProducts> large_;
  DecodeTileLayers tiles_;  // of the step's layers so far
  DeviceBuffer tickets_;    // of the tiles
  std::optional<ShortConvolution> waiting_short_;
  std::optional<Linear> waiting_linear_;
  int64_t growths_ = 0;            // of the memory below
  Scratch inner_{&growths_};       // activations of the feed-forward
  Scratch wide_inner_{&growths_};  // likewise, rounded
  Scratch left_{&growths_};        // rounded left operands of chunks
  Scratch wide_left_{&growths_};   // likewise, of decode rows
  Scratch sums_{&growths_};        // of chunks' products
  Scratch chunk_{&growths_};       // of chunks' attention and convolution
  Scratch statistics_{&growths_};  // of norms
  RoundedCopies rounded_{&growths_};
  DType half_type_ = DType::kF32;  // of the 16-bit weights, if there are any
  PinnedBuffer download_;
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_CUDA_BACKEND_H_
