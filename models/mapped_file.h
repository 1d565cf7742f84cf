#ifndef CHELA_MODELS_MAPPED_FILE_H_
#define CHELA_MODELS_MAPPED_FILE_H_

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace chela {

// A regular file mapped into memory, read only. Move-only. The file must not
// shrink while it is mapped: reading beyond its new end would be SIGBUS.
class MappedFile {
 public:
  // NOT_FOUND if there is no such file, INVALID_ARGUMENT if it is no regular
  // file, UNAVAILABLE if it cannot be read.
  static absl::StatusOr<MappedFile> Open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept
      : bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::span<const std::byte> bytes_;
};

}  // namespace chela

#endif  // CHELA_MODELS_MAPPED_FILE_H_
