#ifndef CHELA_MODELS_TENSOR_VALUES_H_
#define CHELA_MODELS_TENSOR_VALUES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/dtype.h"

namespace chela {

// The type of that name ("F32", "BF16", "F16"), none for another.
std::optional<DType> DTypeNamed(std::string_view name);

// The stored elements as float32: exact for all three types.
std::vector<float> Widen(std::span<const std::byte> data, DType stored);

// The index of the first element that is NaN or infinite, or becomes infinite
// when it is rounded to `target` (65520 and more as F16); none if all are fine.
std::optional<size_t> FirstUnusable(std::span<const std::byte> data,
                                    DType stored, DType target);

// A 64-bit hash of a byte string, the same in every process and on every
// machine (little-endian). Four independent multiply-rotate lanes of 8 bytes,
// so that it runs at memory speed (65 MB take about 10 ms). Finds accidental
// differences; no defence against someone who looks for collisions.
class ContentHash {
 public:
  // Hashes the length too: Add("ab"), Add("c") differs from Add("a"),
  // Add("bc").
  void Add(std::span<const std::byte> bytes);
  void Add(std::string_view text);
  // Hexadecimal, 16 digits.
  std::string Digits() const;

 private:
  uint64_t lanes_[4] = {1, 2, 3, 4};
};

}  // namespace chela

#endif  // CHELA_MODELS_TENSOR_VALUES_H_
