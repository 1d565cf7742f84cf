#include "kernels/cuda/rounded_copies.h"

namespace chela::cuda {

void RoundedCopies::Clear() {
  for (auto& [result, copy] : copies_) copy.valid = false;
}

void RoundedCopies::Forget(const float* result) {
  const auto found = copies_.find(result);
  if (found != copies_.end()) found->second.valid = false;
}

absl::StatusOr<RoundedOut> RoundedCopies::Make(const float* result,
                                               int64_t rows, int64_t width,
                                               DType dtype) {
  const auto [found, is_new] =
      copies_.try_emplace(result, Copy{Scratch(growths_)});
  Copy& copy = found->second;
  const absl::StatusOr<uint16_t*> data =
      copy.memory.Get<uint16_t>(rows * width);
  if (!data.ok()) return data.status();
  copy.data = *data;
  copy.width = width;
  copy.dtype = dtype;
  copy.valid = true;
  return RoundedOut{copy.data, dtype};
}

const void* RoundedCopies::Find(const float* result, int64_t width,
                                DType dtype) const {
  const auto found = copies_.find(result);
  if (found == copies_.end()) return nullptr;
  const Copy& copy = found->second;
  return copy.valid && copy.width == width && copy.dtype == dtype ? copy.data
                                                                  : nullptr;
}

}  // namespace chela::cuda
