#include "kernels/cpu/aligned_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <utility>

namespace chela {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kHugePage = size_t{2} << 20;
// Slabs double up to the largest, so that few blocks take little.
constexpr size_t kSmallestSlab = 2 * kHugePage;
constexpr size_t kLargestSlab = 32 * kHugePage;

}  // namespace

AlignedMemory::AlignedMemory(size_t bytes) {
  const bool huge = bytes >= 2 * kHugePage;
  const size_t alignment = huge ? kHugePage : kAlignment;
  if (bytes == 0 || bytes > SIZE_MAX - alignment) return;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  data_.reset(std::aligned_alloc(alignment, rounded), &std::free);
  if (data_ == nullptr) return;
  size_bytes_ = bytes;
  // A refusal costs speed only.
  if (huge) madvise(data_.get(), rounded, MADV_HUGEPAGE);
}

AlignedMemory MemorySlabs::Cut(size_t bytes) {
  AlignedMemory block;
  if (bytes == 0) return block;
  const size_t begin = (used_ + kAlignment - 1) / kAlignment * kAlignment;
  if (begin > slab_.size_bytes() || bytes > slab_.size_bytes() - begin) {
    const size_t size =
        std::clamp(2 * slab_.size_bytes(), kSmallestSlab, kLargestSlab);
    AlignedMemory slab(std::max(bytes, size));
    if (slab.data() == nullptr) return block;
    slab_ = std::move(slab);
    used_ = 0;
    return Cut(bytes);
  }
  // Shares the slab's count, so that the last block frees it.
  block.data_ = std::shared_ptr<void>(
      slab_.data_, static_cast<unsigned char*>(slab_.data()) + begin);
  block.size_bytes_ = bytes;
  used_ = begin + bytes;
  return block;
}

}  // namespace chela
