#ifndef CHELA_KERNELS_CUDA_ROUNDED_COPIES_H_
#define CHELA_KERNELS_CUDA_ROUNDED_COPIES_H_

#include <cstdint>
#include <map>

#include "absl/status/statusor.h"
#include "kernels/cuda/device_buffer.h"
#include "kernels/cuda/rounded_out.h"
#include "kernels/dtype.h"

namespace chela::cuda {

// Which float32 results of this step also stand rounded in memory: the left
// operands of products, named by the address of the float32 ones. A copy holds
// until something else writes there, or the next step.
//
// Threads: owned by one thread.
class RoundedCopies {
 public:
  explicit RoundedCopies(int64_t* growths) : growths_(growths) {}

  // From now on there are none.
  void Clear();
  // `result` is written by an op that makes no copy.
  void Forget(const float* result);
  // Room for a copy of `result`, which the caller's op makes.
  absl::StatusOr<RoundedOut> Make(const float* result, int64_t rows,
                                  int64_t width, DType dtype);
  // The copy; null if there is none of this width and type.
  const void* Find(const float* result, int64_t width, DType dtype) const;

 private:
  struct Copy {
    Scratch memory;
    void* data = nullptr;
    int64_t width = 0;
    DType dtype = DType::kBF16;
    bool valid = false;
  };

  int64_t* growths_;
  std::map<const float*, Copy> copies_;  // one a result of the model's steps
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_ROUNDED_COPIES_H_
