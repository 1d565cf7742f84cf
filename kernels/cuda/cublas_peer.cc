#include "kernels/cuda/cublas_peer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/status_macros.h"

namespace chela::cuda {
namespace {

constexpr int kMostAlgorithms = 256;
constexpr size_t kTrialCalls = 16;
constexpr size_t kFinalists = 4;
constexpr int kRepeats = 3;

using Candidate = std::pair<float, cublasLtMatmulAlgo_t>;

bool Faster(const Candidate& a, const Candidate& b) {
  return a.first < b.first;
}

std::string Describe(const cublasLtMatmulAlgo_t& algorithm) {
  const auto attribute = [&](cublasLtMatmulAlgoConfigAttributes_t name) {
    int32_t value = 0;
    size_t written = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoConfigGetAttribute(
        &algorithm, name, &value, sizeof(value), &written);
    return status == CUBLAS_STATUS_SUCCESS ? value : -1;
  };
  return absl::StrCat("version ", cublasLtGetVersion(), ", algorithm ",
                      attribute(CUBLASLT_ALGO_CONFIG_ID), ", tile ",
                      attribute(CUBLASLT_ALGO_CONFIG_TILE_ID), ", split of K ",
                      attribute(CUBLASLT_ALGO_CONFIG_SPLITK_NUM));
}

}  // namespace

absl::StatusOr<std::unique_ptr<CublasPeer>> CublasPeer::Choose(
    std::vector<WeightView> weights, const void* left, int32_t rows,
    float* sums, cudaStream_t stream) {
  std::unique_ptr<CublasPeer> peer(new CublasPeer());
  peer->weights_ = std::move(weights);
  peer->left_ = left;
  peer->rows_ = rows;
  peer->sums_ = sums;
  peer->stream_ = stream;
  CHELA_RETURN_IF_ERROR(peer->Open());
  CHELA_RETURN_IF_ERROR(peer->Choose());
  return peer;
}

CublasPeer::~CublasPeer() {
  for (const cudaEvent_t event : {start_, end_}) {
    if (event != nullptr) cudaEventDestroy(event);
  }
  if (handle_ != nullptr) cublasLtDestroy(handle_);
}

absl::Status CublasPeer::Open() {
  CHELA_RETURN_IF_ERROR(CublasStatus(cublasLtCreate(&handle_), "start"));
  CHELA_RETURN_IF_ERROR(CudaStatus(cudaEventCreate(&start_), "make an event"));
  CHELA_RETURN_IF_ERROR(CudaStatus(cudaEventCreate(&end_), "make an event"));
  absl::StatusOr<DeviceBuffer> workspace =
      DeviceBuffer::Allocate(kCublasWorkspaceBytes);
  if (!workspace.ok()) return workspace.status();
  workspace_ = *std::move(workspace);
  return matmul_.Init(weights_[0], rows_);
}

absl::Status CublasPeer::Record(const cublasLtMatmulAlgo_t& algorithm,
                                size_t calls, ProductGraph* graph) {
  const float one = 1.0f;
  const float zero = 0.0f;
  return graph->Record(stream_, [&]() -> absl::Status {
    for (size_t call = 0; call < calls; ++call) {
      CHELA_RETURN_IF_ERROR(CublasStatus(
          cublasLtMatmul(handle_, matmul_.operation(), &one,
                         weights_[call].data, matmul_.weight(), left_,
                         matmul_.left(), &zero, sums_, matmul_.sums(), sums_,
                         matmul_.sums(), &algorithm, workspace_.data(),
                         kCublasWorkspaceBytes, stream_),
          "multiply"));
    }
    return absl::OkStatus();
  });
}

// The least of kRepeats runs, in milliseconds; one more goes before them.
absl::StatusOr<float> CublasPeer::Time(const cublasLtMatmulAlgo_t& algorithm,
                                       size_t calls) {
  ProductGraph graph;
  CHELA_RETURN_IF_ERROR(Record(algorithm, calls, &graph));
  CHELA_RETURN_IF_ERROR(graph.Run(stream_));
  float least = std::numeric_limits<float>::infinity();
  for (int i = 0; i < kRepeats; ++i) {
    CHELA_RETURN_IF_ERROR(
        CudaStatus(cudaEventRecord(start_, stream_), "time products"));
    CHELA_RETURN_IF_ERROR(graph.Run(stream_));
    CHELA_RETURN_IF_ERROR(
        CudaStatus(cudaEventRecord(end_, stream_), "time products"));
    CHELA_RETURN_IF_ERROR(
        CudaStatus(cudaEventSynchronize(end_), "time products"));
    float milliseconds = 0;
    CHELA_RETURN_IF_ERROR(CudaStatus(
        cudaEventElapsedTime(&milliseconds, start_, end_), "time products"));
    least = std::min(least, milliseconds);
  }
  return least;
}

absl::Status CublasPeer::Choose() {
  const WeightView& weight = weights_[0];
  CublasPreference preference;
  CHELA_RETURN_IF_ERROR(
      preference.Init(weight.rows, CUBLASLT_REDUCTION_SCHEME_MASK));
  std::vector<cublasLtMatmulHeuristicResult_t> found(kMostAlgorithms);
  int count = 0;
  CHELA_RETURN_IF_ERROR(
      CublasStatus(cublasLtMatmulAlgoGetHeuristic(
                       handle_, matmul_.operation(), matmul_.weight(),
                       matmul_.left(), matmul_.sums(), matmul_.sums(),
                       preference.get(), kMostAlgorithms, found.data(), &count),
                   "name its algorithms"));
  std::vector<Candidate> candidates;
  for (int i = 0; i < count; ++i) {
    if (found[i].state != CUBLAS_STATUS_SUCCESS) continue;
    const absl::StatusOr<float> trial =
        Time(found[i].algo, std::min(kTrialCalls, weights_.size()));
    if (!trial.ok()) return trial.status();
    candidates.emplace_back(*trial, found[i].algo);
  }
  if (candidates.empty()) {
    return absl::InternalError(absl::StrCat("cuBLAS has no algorithm for ",
                                            rows_, " rows by [", weight.rows,
                                            ", ", weight.cols, "]"));
  }
  algorithms_ = static_cast<int32_t>(candidates.size());
  std::sort(candidates.begin(), candidates.end(), Faster);
  candidates.resize(std::min(candidates.size(), kFinalists));
  for (auto& [seconds, algorithm] : candidates) {
    const absl::StatusOr<float> whole = Time(algorithm, weights_.size());
    if (!whole.ok()) return whole.status();
    seconds = *whole;
  }
  const Candidate& best =
      *std::min_element(candidates.begin(), candidates.end(), Faster);
  description_ = Describe(best.second);
  return Record(best.second, weights_.size(), &graph_);
}

}  // namespace chela::cuda
