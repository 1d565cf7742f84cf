#include "kernels/cpu/aligned_memory.h"

#include <sys/mman.h>

#include <cstdint>

namespace chela {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

AlignedMemory::AlignedMemory(size_t bytes) {
  const bool huge = bytes >= 2 * kHugePage;
  const size_t alignment = huge ? kHugePage : kAlignment;
  if (bytes == 0 || bytes > SIZE_MAX - alignment) return;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  data_.reset(std::aligned_alloc(alignment, rounded));
  if (data_ == nullptr) return;
  size_bytes_ = bytes;
  // A refusal costs speed only.
  if (huge) madvise(data_.get(), rounded, MADV_HUGEPAGE);
}

}  // namespace chela
