#ifndef CHELA_KERNELS_CUDA_DEVICE_BUFFER_H_
#define CHELA_KERNELS_CUDA_DEVICE_BUFFER_H_

#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace chela::cuda {

// Owns one block of memory on one CUDA device and frees it. Bytes only: shape
// and type belong to the views that point into it. Freeing waits for the
// device, so a kernel that still runs never loses its memory; it is also why
// nothing is allocated or freed once the engine serves. Move-only.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;  // Empty: data() is null.

  // `bytes` zeroed bytes on the current device. RESOURCE_EXHAUSTED names what
  // was asked and what was free.
  static absl::StatusOr<DeviceBuffer> Allocate(size_t bytes);

  DeviceBuffer(DeviceBuffer&& other) noexcept { Swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    Swap(other);  // `other` frees what this held.
    return *this;
  }
  ~DeviceBuffer();

  void* data() const { return data_; }  // never dereferenced on the host
  size_t size_bytes() const { return size_bytes_; }

 private:
  void Swap(DeviceBuffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
  }

  void* data_ = nullptr;
  size_t size_bytes_ = 0;
};

// Page-locked host memory that the device reads and writes. Move-only.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  static absl::StatusOr<PinnedBuffer> Allocate(size_t bytes);

  PinnedBuffer(PinnedBuffer&& other) noexcept { Swap(other); }
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    Swap(other);
    return *this;
  }
  ~PinnedBuffer();

  void* data() const { return data_; }
  size_t size_bytes() const { return size_bytes_; }

 private:
  void Swap(PinnedBuffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
  }

  void* data_ = nullptr;
  size_t size_bytes_ = 0;
};

// Memory that grows when a step needs more than any before it, and is reused
// otherwise. Its old contents are lost when it grows, and graphs that hold its
// address are out of date: `growths` counts that.
class Scratch {
 public:
  explicit Scratch(int64_t* growths) : growths_(growths) {}

  // At least `count` elements; asks the device for memory only if it must.
  template <typename T>
  absl::StatusOr<T*> Get(int64_t count) {
    const absl::Status status = Reserve(static_cast<size_t>(count) * sizeof(T));
    if (!status.ok()) return status;
    return static_cast<T*>(buffer_.data());
  }

 private:
  absl::Status Reserve(size_t bytes);

  int64_t* growths_;
  DeviceBuffer buffer_;
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_DEVICE_BUFFER_H_
