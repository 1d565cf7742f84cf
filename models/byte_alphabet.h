#ifndef CHELA_MODELS_BYTE_ALPHABET_H_
#define CHELA_MODELS_BYTE_ALPHABET_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace chela {

// The characters that byte-level vocabularies (GPT-2 and what came after it)
// write for bytes, so that every token is printable text: bytes that are
// printable in Latin-1 (0x21-0x7E, 0xA1-0xAC, 0xAE-0xFF) stand for themselves,
// the other 68, in order, for U+0100 to U+0143. A space is U+0120.

// The character of `byte`, UTF-8.
std::string ByteCharacter(uint8_t byte);

// The bytes that `token` stands for; nothing if one of its characters stands
// for no byte (or it is no UTF-8).
std::optional<std::string> BytesOfToken(std::string_view token);

}  // namespace chela

#endif  // CHELA_MODELS_BYTE_ALPHABET_H_
