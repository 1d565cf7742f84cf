#ifndef CHELA_SERVER_SESSION_BYTE_ORDER_H_
#define CHELA_SERVER_SESSION_BYTE_ORDER_H_

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace chela {

// Appends integers as little endian bytes of their own width.
class ByteWriter {
 public:
  template <std::integral T>
  void Put(T value) {
    auto bits = static_cast<std::make_unsigned_t<T>>(value);
    for (size_t i = 0; i < sizeof(T); ++i) {
      bytes_.push_back(static_cast<char>(bits & 0xff));
      bits = static_cast<std::make_unsigned_t<T>>(bits >> 4 >> 4);
    }
  }
  void PutBytes(std::string_view bytes) { bytes_.append(bytes); }

  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// Reads what ByteWriter wrote. Past the end everything is 0 or empty and
// failed() says so, so that a caller checks once. Borrows the bytes.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  template <std::integral T>
  T Get() {
    const std::string_view from = GetBytes(sizeof(T));
    std::make_unsigned_t<T> bits = 0;
    for (size_t i = from.size(); i-- > 0;) {
      bits = static_cast<std::make_unsigned_t<T>>(
          bits << 4 << 4 | static_cast<uint8_t>(from[i]));
    }
    return static_cast<T>(bits);
  }
  std::string_view GetBytes(size_t count) {
    if (count > rest_.size()) {
      failed_ = true;
      rest_ = {};
      return {};
    }
    const std::string_view bytes = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return bytes;
  }

  bool failed() const { return failed_; }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
  bool failed_ = false;
};

}  // namespace chela

#endif  // CHELA_SERVER_SESSION_BYTE_ORDER_H_
