#include "models/tensor_values.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace chela {
namespace {

template <typename Word>
Word LoadWord(const std::byte* from) {
  Word word;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

float FromHalf(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t magnitude = bits & 0x7fff;
  if (magnitude >= 0x7c00) {  // Inf, NaN
    return std::bit_cast<float>(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
  }
  // Moving the exponent by a product also makes subnormals right: 2^112 is
  // the difference of the two exponent biases.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(scaled));
}

float FromStored(uint16_t bits, DType stored) {
  return stored == DType::kBF16
             ? std::bit_cast<float>(static_cast<uint32_t>(bits) << 16)
             : FromHalf(bits);
}

// The smallest magnitude, as bits of `stored`, that `target` cannot hold.
uint32_t Threshold(DType stored, DType target) {
  switch (stored) {
    case DType::kF32:
      if (target == DType::kF16) return std::bit_cast<uint32_t>(65520.0f);
      // Half a step above bf16's largest number.
      if (target == DType::kBF16) return 0x7f7f8000;
      return 0x7f800000;
    case DType::kBF16:
      return target == DType::kF16 ? 0x4780 : 0x7f80;  // 65536: none between
    case DType::kF16:
      return 0x7c00;
    case DType::kI8:
      break;  // never stored
  }
  return 0;
}

template <typename Word>
std::optional<size_t> FirstAtLeast(std::span<const std::byte> data,
                                   Word threshold) {
  constexpr Word kMagnitude = static_cast<Word>(~Word{0}) >> 1;
  constexpr size_t kBlock = 4096;
  const size_t count = data.size() / sizeof(Word);
  for (size_t first = 0; first < count; first += kBlock) {
    // Without a branch inside, so that the block is compared in vectors.
    const size_t end = std::min(count, first + kBlock);
    Word largest = 0;
    for (size_t i = first; i < end; ++i) {
      largest = std::max<Word>(
          largest, LoadWord<Word>(&data[i * sizeof(Word)]) & kMagnitude);
    }
    if (largest < threshold) continue;
    for (size_t i = first; i < end; ++i) {
      if ((LoadWord<Word>(&data[i * sizeof(Word)]) & kMagnitude) >= threshold) {
        return i;
      }
    }
  }
  return std::nullopt;
}

constexpr uint64_t kOdd1 = 0x9e3779b97f4a7c15;  // 2^64 / golden ratio
constexpr uint64_t kOdd2 = 0xbf58476d1ce4e5b9;  // splitmix64's multipliers
constexpr uint64_t kOdd3 = 0x94d049bb133111eb;

uint64_t Step(uint64_t lane, uint64_t word) {
  return std::rotl(lane ^ (word * kOdd1), 29) * kOdd2 + kOdd3;
}

uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * kOdd2;
  x = (x ^ (x >> 27)) * kOdd3;
  return x ^ (x >> 31);
}

}  // namespace

std::optional<DType> DTypeNamed(std::string_view name) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    if (name == Name(dtype)) return dtype;
  }
  return std::nullopt;
}

std::vector<float> Widen(std::span<const std::byte> data, DType stored) {
  std::vector<float> values(data.size() / SizeOf(stored));
  if (stored == DType::kF32) {
    if (!data.empty()) std::memcpy(values.data(), data.data(), data.size());
    return values;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = FromStored(LoadWord<uint16_t>(&data[2 * i]), stored);
  }
  return values;
}

std::optional<size_t> FirstUnusable(std::span<const std::byte> data,
                                    DType stored, DType target) {
  const uint32_t threshold = Threshold(stored, target);
  if (stored == DType::kF32) return FirstAtLeast<uint32_t>(data, threshold);
  return FirstAtLeast<uint16_t>(data, static_cast<uint16_t>(threshold));
}

void ContentHash::Add(std::span<const std::byte> bytes) {
  // In locals: bytes may alias anything, so members would be stored and
  // loaded again for every word.
  uint64_t a = Step(lanes_[0], bytes.size());
  uint64_t b = lanes_[1];
  uint64_t c = lanes_[2];
  uint64_t d = lanes_[3];
  const std::byte* from = bytes.data();
  size_t left = bytes.size();
  for (; left >= 32; from += 32, left -= 32) {
    a = Step(a, LoadWord<uint64_t>(from));
    b = Step(b, LoadWord<uint64_t>(from + 8));
    c = Step(c, LoadWord<uint64_t>(from + 16));
    d = Step(d, LoadWord<uint64_t>(from + 24));
  }
  uint64_t rest[4] = {};
  if (left > 0) std::memcpy(rest, from, left);
  lanes_[0] = Step(a, rest[0]);
  lanes_[1] = Step(b, rest[1]);
  lanes_[2] = Step(c, rest[2]);
  lanes_[3] = Step(d, rest[3]);
}

void ContentHash::Add(std::string_view text) {
  Add(std::as_bytes(std::span(text.data(), text.size())));
}

std::string ContentHash::Digits() const {
  uint64_t result = 0;
  for (const uint64_t lane : lanes_) result = Mix(result + lane + kOdd1);
  return absl::StrCat(absl::Hex(result, absl::kZeroPad16));
}

}  // namespace chela
