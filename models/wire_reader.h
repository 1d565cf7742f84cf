#ifndef CHELA_MODELS_WIRE_READER_H_
#define CHELA_MODELS_WIRE_READER_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace chela {

// Reads the fields of a serialised protocol buffer one after the other,
// without a schema and without trusting a length. Borrows the bytes. Owned by
// one thread.
class WireReader {
 public:
  struct Field {
    uint32_t number = 0;
    uint32_t type = 0;       // wire type: 0 varint, 1 fixed64, 2 bytes,
                             // 5 fixed32
    uint64_t value = 0;      // of types 0, 1 and 5
    std::string_view bytes;  // of type 2
    std::string_view whole;  // tag and value, as they stand
  };

  explicit WireReader(std::string_view bytes) : bytes_(bytes) {}

  // The next field. False at the end, and for good once a field is malformed.
  bool Next(Field* field);
  bool malformed() const { return malformed_; }
  size_t position() const { return position_; }  // bytes read so far

 private:
  bool ReadVarint(uint64_t* value);
  bool ReadFixed(size_t size_bytes, uint64_t* value);
  bool ReadValue(Field* field);

  std::string_view bytes_;
  size_t position_ = 0;
  bool malformed_ = false;
};

}  // namespace chela

#endif  // CHELA_MODELS_WIRE_READER_H_
