#ifndef CHELA_KERNELS_CUDA_PRODUCT_H_
#define CHELA_KERNELS_CUDA_PRODUCT_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/norm_statistics.h"
#include "kernels/dtype.h"
#include "kernels/norm.h"

namespace chela::cuda {

// A weight matrix [rows, cols] in device memory, row-major as the checkpoint
// stores it. Rows are padded with zeros to `stride` elements, a multiple of 64
// (32 for float32), and there are `padded_rows` of them, a multiple of 128, so
// that kernels load without bounds.
struct WeightView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int32_t rows = 0;
  int32_t cols = 0;
  int32_t stride = 0;
  int32_t padded_rows = 0;
};

// What happens to the finished sums of a product, s = x weight^T.
enum class Finish {
  kStore,     // out = s + bias (bias may be null)
  kResidual,  // out = residual + s
  kGated,     // h = SiLU(candidate + s), g = sigmoid(gate),
              // out = g h + (1 - g) residual
  kSilu,      // out = SiLU(s)
  kSwiglu,    // out = SiLU(s) * s', s' being row j + rows/2 of the weight
};

struct FinishArguments {
  Finish kind = Finish::kStore;
  const float* bias = nullptr;      // [weight rows]
  const float* residual = nullptr;  // rows out_stride apart
  const float* candidate = nullptr;
  const float* gate = nullptr;
  int64_t candidate_stride = 0;
  int64_t gate_stride = 0;
  float* out = nullptr;
  // Instead of `out`, rounded to the weight's 16-bit type; only where the
  // product is a wide one (IsWide) or a chunk's.
  void* rounded = nullptr;
  int64_t out_stride = 0;
};

// One product of gathered rows. Row i of the left operand is
//   Norm(x[in_rows[i]]) or x[in_rows[i]],
// rounded to the weight's type; its results go to row out_rows[i]. A null list
// counts 0, 1, 2 ...
struct Product {
  WeightView weight;
  const float* x = nullptr;
  int64_t x_stride = 0;
  bool normed = false;
  Norm norm;
  const NormStatistics* statistics = nullptr;  // [count], see Launch
  // The left operand as it enters the product, [.., weight.stride] by in_rows,
  // if somebody has rounded it already.
  const void* rounded = nullptr;
  const int32_t* count = nullptr;  // device: rows that exist
  const int32_t* in_rows = nullptr;
  const int32_t* out_rows = nullptr;
  FinishArguments finish;
};

// Where a product runs.
struct ProductLaunch {
  int32_t max_rows = 0;                  // at least *count
  int32_t processors = 1;                // multiprocessors of the device
  bool overlap = false;                  // see LaunchShape
  NormStatistics* statistics = nullptr;  // room for max_rows
  // Room for two left operands, [2, max_rows, weight.stride]; for 16-bit
  // weights.
  uint16_t* left = nullptr;
  cudaStream_t stream = nullptr;
};

// Whether a product of up to max_rows rows takes its left operand rounded by an
// earlier kernel (16-bit weights only). One row is rounded where it is used.
inline constexpr int32_t kWeightColumns = 64;  // what `stride` is a multiple of
inline bool IsWide(const WeightView& weight, int32_t max_rows) {
  return weight.dtype != DType::kF32 && max_rows > 1;
}

// Products of few rows (decode and logits), bound by reading the weights.
//
// The sum over the inputs is cut into 8 slices at multiples of 64 inputs, each
// summed in order in steps of 16, and the slices are added as a tree: for a
// given weight shape the same for every number of rows and every position of a
// row, so a row has the same bits in any batch. float32 weights: 32 lanes each
// sum every 32nd group of 4 inputs, then a tree.
//
// Kernels that start early read weights before they wait for the kernel in
// front of them.
cudaError_t Launch(const Product& product, const ProductLaunch& launch);

// Two products of the same rows, in one launch where that is possible.
cudaError_t LaunchPair(const Product& first, const Product& second,
                       const ProductLaunch& launch);

// Rounds rows to the left operand of a large product, [rows, stride] of the
// weight's 16-bit type, zeros beyond cols. overlap: see LaunchShape.
cudaError_t LaunchRound(const Product& product, int32_t first_row, int32_t rows,
                        void* left, bool overlap, cudaStream_t stream);

// Applies `finish` to finished sums [rows, weight rows] of rows first_row ...
cudaError_t LaunchFinish(const WeightView& weight,
                         const FinishArguments& finish, const float* sums,
                         int32_t first_row, int32_t rows, bool overlap,
                         cudaStream_t stream);

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_PRODUCT_H_
