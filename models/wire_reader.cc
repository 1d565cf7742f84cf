#include "models/wire_reader.h"

#include <limits>

namespace chela {
namespace {

// Protocol buffers allow field numbers up to 2^29 - 1.
constexpr uint64_t kMaxTag = std::numeric_limits<uint32_t>::max();

}  // namespace

bool WireReader::Next(Field* field) {
  if (malformed_ || position_ == bytes_.size()) return false;
  const size_t begin = position_;
  uint64_t tag = 0;
  malformed_ = !ReadVarint(&tag) || tag > kMaxTag || tag >> 3 == 0;
  if (malformed_) return false;
  *field = {};
  field->number = static_cast<uint32_t>(tag >> 3);
  field->type = static_cast<uint32_t>(tag & 7);
  malformed_ = !ReadValue(field);
  field->whole = bytes_.substr(begin, position_ - begin);
  return !malformed_;
}

bool WireReader::ReadValue(Field* field) {
  switch (field->type) {
    case 0:
      return ReadVarint(&field->value);
    case 1:
      return ReadFixed(8, &field->value);
    case 5:
      return ReadFixed(4, &field->value);
    case 2: {
      uint64_t size = 0;
      if (!ReadVarint(&size) || size > bytes_.size() - position_) return false;
      field->bytes = bytes_.substr(position_, size);
      position_ += size;
      return true;
    }
    default:  // Groups are in no message that is read here.
      return false;
  }
}

bool WireReader::ReadVarint(uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (position_ == bytes_.size()) return false;
    const auto byte = static_cast<uint8_t>(bytes_[position_++]);
    *value |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

bool WireReader::ReadFixed(size_t size_bytes, uint64_t* value) {
  if (size_bytes > bytes_.size() - position_) return false;
  *value = 0;
  for (size_t i = 0; i < size_bytes; ++i) {
    *value |= uint64_t{static_cast<uint8_t>(bytes_[position_ + i])} << (8 * i);
  }
  position_ += size_bytes;
  return true;
}

}  // namespace chela
