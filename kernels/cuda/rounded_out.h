#ifndef CHELA_KERNELS_CUDA_ROUNDED_OUT_H_
#define CHELA_KERNELS_CUDA_ROUNDED_OUT_H_

#include "kernels/dtype.h"

namespace chela::cuda {

// Where an op writes its result a second time, rounded to the type of the
// weights that will read it: [rows, width], by row of the step.
struct RoundedOut {
  void* data = nullptr;  // null: no such copy
  DType dtype = DType::kBF16;
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ROUNDED_OUT_H_
