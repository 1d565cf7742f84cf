#include "kernels/cuda/step_graphs.h"

#include "kernels/cuda/cuda_status.h"
#include "kernels/status_macros.h"

namespace chela::cuda {

StepGraphs::~StepGraphs() {
  for (const auto& [key, graph] : graphs_) {
    if (graph.executable != nullptr) cudaGraphExecDestroy(graph.executable);
  }
}

absl::Status StepGraphs::Record(cudaStream_t stream,
                                absl::FunctionRef<absl::Status()> ops,
                                cudaGraphExec_t* executable) {
  CHELA_RETURN_IF_ERROR(CudaStatus(
      cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
      "begin a graph"));
  const absl::Status status = ops();
  cudaGraph_t graph = nullptr;
  // Ends the recording whatever became of it.
  const absl::Status ended =
      CudaStatus(cudaStreamEndCapture(stream, &graph), "end a graph");
  absl::Status made = status.ok() ? ended : status;
  if (made.ok()) {
    made = CudaStatus(cudaGraphInstantiate(executable, graph, 0),
                      "instantiate a graph");
  }
  if (made.ok()) {
    made = CudaStatus(cudaGraphUpload(*executable, stream), "upload a graph");
  }
  if (graph != nullptr) cudaGraphDestroy(graph);
  return made;
}

absl::Status StepGraphs::Run(uint64_t program, int32_t bucket,
                             int64_t generation, cudaStream_t stream,
                             absl::FunctionRef<absl::Status()> ops) {
  const auto [found, is_new] = graphs_.try_emplace({program, bucket});
  Graph& graph = found->second;
  if (is_new || graph.generation != generation) {
    if (graph.executable != nullptr) {
      CHELA_RETURN_IF_ERROR(
          CudaStatus(cudaStreamSynchronize(stream), "wait for a step"));
      cudaGraphExecDestroy(graph.executable);
      graph.executable = nullptr;
    }
    graph.generation = generation;
    return ops();
  }
  if (graph.executable == nullptr) {
    CHELA_RETURN_IF_ERROR(Record(stream, ops, &graph.executable));
  }
  return CudaStatus(cudaGraphLaunch(graph.executable, stream),
                    "launch the graph of a step");
}

}  // namespace chela::cuda
