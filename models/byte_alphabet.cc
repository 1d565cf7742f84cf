#include "models/byte_alphabet.h"

#include <array>

#include "models/utf8.h"

namespace chela {
namespace {

constexpr size_t kCharacters = 0x144;  // one above the last

constexpr bool StandsForItself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

constexpr std::array<char32_t, 256> MakeCharacters() {
  std::array<char32_t, 256> characters = {};
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    characters[byte] = StandsForItself(byte) ? byte : next++;
  }
  return characters;
}
constexpr std::array<char32_t, 256> kCharacterOf = MakeCharacters();

constexpr std::array<int16_t, kCharacters> MakeBytes() {
  std::array<int16_t, kCharacters> bytes = {};
  for (int16_t& byte : bytes) byte = -1;
  for (unsigned byte = 0; byte < 256; ++byte) {
    bytes[kCharacterOf[byte]] = static_cast<int16_t>(byte);
  }
  return bytes;
}
constexpr std::array<int16_t, kCharacters> kByteOf = MakeBytes();

}  // namespace

std::string ByteCharacter(uint8_t byte) {
  return EncodeUtf8(kCharacterOf[byte]);
}

std::optional<std::string> BytesOfToken(std::string_view token) {
  std::string bytes;
  while (!token.empty()) {
    const Utf8Step step = NextUtf8(token);
    if (step.kind != Utf8Kind::kCharacter || step.code_point >= kCharacters ||
        kByteOf[step.code_point] < 0) {
      return std::nullopt;
    }
    bytes.push_back(static_cast<char>(kByteOf[step.code_point]));
    token.remove_prefix(step.length);
  }
  return bytes;
}

}  // namespace chela
