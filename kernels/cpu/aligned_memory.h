#ifndef CHELA_KERNELS_CPU_ALIGNED_MEMORY_H_
#define CHELA_KERNELS_CPU_ALIGNED_MEMORY_H_

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace chela {

class MemorySlabs;

// Owns uninitialised memory aligned to 256 bytes, or a share in a slab; large
// blocks are aligned to huge pages and ask for them, since weights are read in
// long streams.
class AlignedMemory {
 public:
  AlignedMemory() = default;  // empty
  // Empty if the machine refuses.
  explicit AlignedMemory(size_t bytes);

  void* data() const { return data_.get(); }
  size_t size_bytes() const { return size_bytes_; }

 private:
  friend class MemorySlabs;
  std::shared_ptr<void> data_;
  size_t size_bytes_ = 0;
};

// Cuts blocks that live about as long as each other from slabs of huge pages,
// one after the other: a block of its own would end in a page that it fills in
// part only, and small ones would get no huge page at all. A slab goes back to
// the system with its last block.
//
// Threads: owned by one thread; the blocks may be freed on any.
class MemorySlabs {
 public:
  // Empty if the machine refuses.
  AlignedMemory Cut(size_t bytes);

 private:
  AlignedMemory slab_;
  size_t used_ = 0;
};

}  // namespace chela

#endif  // CHELA_KERNELS_CPU_ALIGNED_MEMORY_H_
