#ifndef CHELA_KERNELS_CPU_SCRATCH_H_
#define CHELA_KERNELS_CPU_SCRATCH_H_

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/aligned_memory.h"

namespace chela {

// Working memory that grows to the largest size ever asked for and is then
// reused, so that a step in steady state allocates nothing.
//
// Threads: owned by one thread; the memory it hands out may be shared.
class Scratch {
 public:
  // `count` elements, uninitialised, aligned to 256 bytes, valid until the
  // next call. Null if the machine has no memory left.
  template <typename T>
  T* Get(int64_t count) {
    return static_cast<T*>(GetBytes(static_cast<size_t>(count) * sizeof(T)));
  }

 private:
  void* GetBytes(size_t bytes) {
    if (bytes > memory_.size_bytes()) memory_ = AlignedMemory(bytes);
    return memory_.data();
  }

  AlignedMemory memory_;
};

}  // namespace chela

#endif  // CHELA_KERNELS_CPU_SCRATCH_H_
