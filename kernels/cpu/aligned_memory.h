#ifndef CHELA_KERNELS_CPU_ALIGNED_MEMORY_H_
#define CHELA_KERNELS_CPU_ALIGNED_MEMORY_H_

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace chela {

// Owns uninitialised memory aligned to 256 bytes; large blocks are aligned to
// huge pages and ask for them, since weights are read in long streams.
class AlignedMemory {
 public:
  AlignedMemory() = default;  // empty
  // Empty if the machine refuses.
  explicit AlignedMemory(size_t bytes);

  void* data() const { return data_.get(); }
  size_t size_bytes() const { return size_bytes_; }

 private:
  struct Free {
    void operator()(void* data) const { std::free(data); }
  };
  std::unique_ptr<void, Free> data_;
  size_t size_bytes_ = 0;
};

}  // namespace chela

#endif  // CHELA_KERNELS_CPU_ALIGNED_MEMORY_H_
