#include "kernels/cuda/cuda_backend.h"

#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_matrix.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/cuda/explicit_kernel.h"
#include "kernels/status_macros.h"
#include "kernels/validate.h"

namespace chela::cuda {
namespace {

// Steps of more decode rows are not recorded: their launches are a small part.
constexpr int32_t kMostGraphRows = 4096;
// Compute capability 9.0 has clusters and programmatic dependent launch.
constexpr int kModernMajor = 9;
constexpr int kOldestMajor = 8;

class CudaBuffer final : public Buffer {
 public:
  explicit CudaBuffer(DeviceBuffer buffer) : buffer_(std::move(buffer)) {}
  void* data() override { return buffer_.data(); }
  size_t size_bytes() const override { return buffer_.size_bytes(); }

 private:
  DeviceBuffer buffer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> CudaBackend::Create(
    const BackendOptions& options) {
  std::unique_ptr<CudaBackend> backend(new CudaBackend(options.device));
  CHELA_RETURN_IF_ERROR(backend->Open());
  return backend;
}

absl::Status CudaBackend::Open() {
  const std::string doing = absl::StrCat("open device ", device_);
  int devices = 0;
  CHELA_RETURN_IF_ERROR(CudaStatus(cudaGetDeviceCount(&devices), doing));
  if (device_ < 0 || device_ >= devices) {
    return absl::UnavailableError(absl::StrCat("CUDA could not ", doing,
                                               ": there are ", devices,
                                               "; want 0 to ", devices - 1));
  }
  CHELA_RETURN_IF_ERROR(CudaStatus(cudaSetDevice(device_), doing));
  cudaDeviceProp properties;
  CHELA_RETURN_IF_ERROR(
      CudaStatus(cudaGetDeviceProperties(&properties, device_), doing));
  if (properties.major < kOldestMajor) {
    return absl::UnavailableError(absl::StrCat(
        "CUDA device ", device_, ", ", properties.name, ": compute capability ",
        properties.major, ".", properties.minor, "; want 8.0 or newer"));
  }
  modern_ = properties.major >= kModernMajor;
  processors_ = properties.multiProcessorCount;
  shared_bytes_ = static_cast<int64_t>(properties.sharedMemPerBlockOptin);
  // Blocks that wait for each other must run at once.
  const bool together = modern_ && properties.cooperativeLaunch != 0;
  whole_device_.processors = processors_;
  whole_device_.shared_bytes = together ? shared_bytes_ : 0;
  info_ = {.name = absl::StrCat("cuda:", device_),
           .device = properties.name,
           .kernels = absl::StrCat("sm_", properties.major, properties.minor),
           .threads = 1};
  CHELA_RETURN_IF_ERROR(CudaStatus(
      cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), doing));
  absl::StatusOr<std::unique_ptr<LargeProducts>> large =
      LargeProducts::Create();
  if (!large.ok()) return large.status();
  large_ = *std::move(large);
  absl::StatusOr<DeviceBuffer> tickets =
      DeviceBuffer::Allocate(sizeof(TileTickets));
  if (!tickets.ok()) return tickets.status();
  tickets_ = *std::move(tickets);
  return absl::OkStatus();
}

CudaBackend::~CudaBackend() {
  static_cast<void>(cudaSetDevice(device_));
  if (stream_ == nullptr) return;
  static_cast<void>(cudaStreamSynchronize(stream_));
  static_cast<void>(cudaStreamDestroy(stream_));
}

absl::Status CudaBackend::Enter() const {
  return CudaStatus(cudaSetDevice(device_), "use the device");
}

absl::Status CudaBackend::Check(cudaError_t error, const char* op) const {
  if (error == cudaSuccess) return absl::OkStatus();
  return CudaStatus(error, absl::StrCat("run ", op));
}

int64_t CudaBackend::FreeBytes() const {
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  if (!Enter().ok() ||
      cudaMemGetInfo(&free_bytes, &total_bytes) != cudaSuccess) {
    return 0;
  }
  return static_cast<int64_t>(free_bytes);
}

absl::StatusOr<std::unique_ptr<Buffer>> CudaBackend::Allocate(size_t bytes) {
  CHELA_RETURN_IF_ERROR(Enter());
  absl::StatusOr<DeviceBuffer> buffer = DeviceBuffer::Allocate(bytes);
  if (!buffer.ok()) return buffer.status();
  return std::make_unique<CudaBuffer>(*std::move(buffer));
}

absl::Status CudaBackend::Upload(const void* host, void* device, size_t bytes) {
  if (bytes == 0) return absl::OkStatus();
  CHELA_RETURN_IF_ERROR(Enter());
  CHELA_RETURN_IF_ERROR(Flush());
  rounded_.Clear();
  const std::string doing = absl::StrCat("upload ", bytes, " bytes");
  CHELA_RETURN_IF_ERROR(CudaStatus(
      cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_),
      doing));
  // `host` is the caller's again.
  return CudaStatus(cudaStreamSynchronize(stream_), doing);
}

absl::Status CudaBackend::Download(const void* device, void* host,
                                   size_t bytes) {
  if (bytes == 0) return absl::OkStatus();
  CHELA_RETURN_IF_ERROR(Enter());
  CHELA_RETURN_IF_ERROR(Flush());
  const std::string doing = absl::StrCat("download ", bytes, " bytes");
  // By page-locked memory: the device writes it without the driver's help.
  if (download_.size_bytes() < bytes) {
    absl::StatusOr<PinnedBuffer> grown =
        PinnedBuffer::Allocate(std::bit_ceil(bytes));
    if (!grown.ok()) return grown.status();
    download_ = *std::move(grown);
  }
  CHELA_RETURN_IF_ERROR(
      CudaStatus(cudaMemcpyAsync(download_.data(), device, bytes,
                                 cudaMemcpyDeviceToHost, stream_),
                 doing));
  CHELA_RETURN_IF_ERROR(CudaStatus(cudaStreamSynchronize(stream_), doing));
  std::memcpy(host, download_.data(), bytes);
  return absl::OkStatus();
}

absl::Status CudaBackend::Copy(const void* from, void* to, size_t bytes) {
  if (bytes == 0) return absl::OkStatus();
  CHELA_RETURN_IF_ERROR(Enter());
  CHELA_RETURN_IF_ERROR(Flush());
  rounded_.Clear();
  return CudaStatus(
      cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_),
      absl::StrCat("copy ", bytes, " bytes"));
}

absl::Status CudaBackend::Clear(void* device, size_t bytes) {
  if (bytes == 0) return absl::OkStatus();
  CHELA_RETURN_IF_ERROR(Enter());
  CHELA_RETURN_IF_ERROR(Flush());
  rounded_.Clear();
  return CudaStatus(cudaMemsetAsync(device, 0, bytes, stream_),
                    absl::StrCat("clear ", bytes, " bytes"));
}

absl::StatusOr<std::unique_ptr<Matrix>> CudaBackend::Pack(
    std::span<const MatrixPart> parts, int64_t cols, DType dtype) {
  CHELA_RETURN_IF_ERROR(ValidatePack(parts, cols));
  if (dtype == DType::kI8) {
    return absl::UnimplementedError(
        "pack: int8 weights on a CUDA device; want --weights auto there");
  }
  CHELA_RETURN_IF_ERROR(Enter());
  if (dtype != DType::kF32) half_type_ = dtype;
  return CudaMatrix::Make(parts, cols, dtype);
}

absl::StatusOr<std::unique_ptr<ExplicitKernel>> CudaBackend::MakeExplicitKernel(
    const float* kernel, int32_t width, int64_t length) {
  CHELA_RETURN_IF_ERROR(Enter());
  return CudaExplicitKernel::Make(kernel, width, length, shared_bytes_,
                                  stream_);
}

absl::Status CudaBackend::BeginStep(const StepRows& rows) {
  CHELA_RETURN_IF_ERROR(Validate(rows));
  CHELA_RETURN_IF_ERROR(Enter());
  CHELA_RETURN_IF_ERROR(Flush());
  rounded_.Clear();
  inputs_are_set_ = false;
  bucket_ = 0;
  return step_.Set(rows, {}, stream_);
}

absl::Status CudaBackend::RunStep(const StepRows& rows,
                                  const StepProgram& program) {
  CHELA_RETURN_IF_ERROR(Validate(rows));
  CHELA_RETURN_IF_ERROR(Enter());
  CHELA_RETURN_IF_ERROR(Flush());
  CHELA_RETURN_IF_ERROR(step_.Set(rows,
                                  {.tokens = program.tokens,
                                   .logits_rows = program.logits_rows,
                                   .draws = program.draws},
                                  stream_));
  rounded_.Clear();
  inputs_are_set_ = true;
  program_ = program.id;
  const auto run = [&]() -> absl::Status {
    if (bucket_ == 1 && whole_steps_.Collects(program_)) collected_.emplace();
    absl::Status status = program.ops();
    // A program may have no logits.
    if (status.ok()) status = RunCollected();
    collected_.reset();
    if (status.ok()) status = Flush();
    if (status.ok()) status = RunTiles();
    tiles_.count = 0;
    return status;
  };
  // Decode steps whose every row has logits: all others are rare.
  const bool decode =
      step_.rows() > 0 && step_.chunks() == 0 &&
      step_.rows() <= kMostGraphRows &&
      static_cast<int32_t>(program.logits_rows.size()) == step_.rows();
  bucket_ = decode ? static_cast<int32_t>(
                         std::bit_ceil(static_cast<uint32_t>(step_.rows())))
                   : 0;
  // With and without a draw are two programs.
  const uint64_t id = 2 * program.id + (program.draws.rules.empty() ? 0 : 1);
  const absl::Status status =
      decode ? graphs_.Run(id, bucket_, step_.generation() + growths_, stream_,
                           run)
             : run();
  inputs_are_set_ = false;
  bucket_ = 0;
  return status;
}

absl::Status CudaBackend::RunCollected() {
  if (!collected_.has_value()) return absl::OkStatus();
  const std::vector<StepOp> ops = *std::exchange(collected_, std::nullopt);
  const absl::StatusOr<const WholeStep*> found =
      whole_steps_.Find(program_, ops, whole_device_, stream_);
  if (!found.ok()) return found.status();
  if (*found == nullptr) {
    for (const StepOp& op : ops) {
      CHELA_RETURN_IF_ERROR(
          std::visit([this](const auto& one) { return Run(one); }, op));
    }
    return absl::OkStatus();
  }
  WholeStep step = **found;
  step.tokens = step_.tokens();
  step.rows = step_.decode();
  return Check(LaunchWholeStep(step, processors_, stream_), "a whole step");
}

int32_t CudaBackend::GridRows(int32_t rows) const {
  return bucket_ > 0 ? bucket_ : rows;
}

}  // namespace chela::cuda
