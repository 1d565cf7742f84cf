// The end of a large product behind cuBLAS's sums, where it has none like it.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/product_math.cuh"

namespace chela::cuda {
namespace {

constexpr int kThreads = 256;

struct SumsToFinish {
  const float* sums;  // [.., weight_rows]
  int weight_rows;
  int outputs;    // of a row
  int first_row;  // that the sums start with
};

template <typename T, Finish kFinish>
__global__ void __launch_bounds__(kThreads)
    FinishSums(const __grid_constant__ FinishArguments finish,
               const SumsToFinish given) {
  FinishArguments ending = finish;
  ending.kind = kFinish;  // known here: one end's code, not all
  LetLaterStart();
  WaitForEarlier();
  const int column = static_cast<int>(blockIdx.y * kThreads + threadIdx.x);
  if (column >= given.outputs) return;
  const int64_t i = blockIdx.x;
  const float* const row = given.sums + i * given.weight_rows;
  constexpr bool kSwiglu = kFinish == Finish::kSwiglu;
  const int64_t to = given.first_row + i;
  const FinishInputs inputs =
      LoadFinishInputs(ending, to, column, LoadBias(ending, column));
  StoreFinished<T>(
      ending, to, column,
      FinishValue(ending, inputs, __ldcg(row + column),
                  kSwiglu ? __ldcg(row + given.outputs + column) : 0.0f));
}

template <typename T>
cudaError_t LaunchFinishOf(const LaunchShape& shape,
                           const FinishArguments& finish,
                           const SumsToFinish& sums) {
  switch (finish.kind) {
    case Finish::kStore:
      return Launch(shape, FinishSums<T, Finish::kStore>, finish, sums);
    case Finish::kResidual:
      return Launch(shape, FinishSums<T, Finish::kResidual>, finish, sums);
    case Finish::kGated:
      return Launch(shape, FinishSums<T, Finish::kGated>, finish, sums);
    case Finish::kSilu:
      return Launch(shape, FinishSums<T, Finish::kSilu>, finish, sums);
    case Finish::kSwiglu:
      return Launch(shape, FinishSums<T, Finish::kSwiglu>, finish, sums);
  }
  return cudaErrorInvalidValue;
}

}  // namespace

cudaError_t LaunchFinish(const WeightView& weight,
                         const FinishArguments& finish, const float* sums,
                         int32_t first_row, int32_t rows, bool overlap,
                         cudaStream_t stream) {
  const bool swiglu = finish.kind == Finish::kSwiglu;
  const SumsToFinish given = {
      sums, weight.rows, swiglu ? weight.rows / 2 : weight.rows, first_row};
  LaunchShape shape;
  shape.grid =
      dim3(static_cast<unsigned>(rows), Blocks(given.outputs, kThreads));
  shape.block = dim3(kThreads);
  shape.overlap = overlap;
  shape.stream = stream;
  return weight.dtype == DType::kBF16
             ? LaunchFinishOf<__nv_bfloat16>(shape, finish, given)
             : LaunchFinishOf<__half>(shape, finish, given);
}

}  // namespace chela::cuda
