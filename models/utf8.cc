#include "models/utf8.h"

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <cstring>

namespace chela {
namespace {

// Eight bytes at once: the high bit of each.
constexpr uint64_t kNoAscii = 0x8080808080808080u;
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// What may follow a lead byte. The second byte's range alone excludes overlong
// forms, surrogates and code points above U+10FFFF.
struct Lead {
  size_t length = 0;  // of the whole character; 0: no lead byte
  uint8_t second_min = 0x80;
  uint8_t second_max = 0xBF;
};

Lead LeadOf(uint8_t byte) {
  if (byte < 0x80) return {1};
  if (byte < 0xC2) return {0};
  if (byte < 0xE0) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0};
}

}  // namespace

Utf8Step NextUtf8(std::string_view bytes) {
  assert(!bytes.empty());
  const auto first = static_cast<uint8_t>(bytes[0]);
  const Lead lead = LeadOf(first);
  if (lead.length == 0) return {Utf8Kind::kBroken, 1, 0};
  if (lead.length == 1) return {Utf8Kind::kCharacter, 1, first};
  char32_t code_point = first & (0x7Fu >> lead.length);
  for (size_t i = 1; i < lead.length; ++i) {
    if (i == bytes.size()) return {Utf8Kind::kIncomplete, i, 0};
    const auto byte = static_cast<uint8_t>(bytes[i]);
    const uint8_t low = i == 1 ? lead.second_min : 0x80;
    const uint8_t high = i == 1 ? lead.second_max : 0xBF;
    if (byte < low || byte > high) return {Utf8Kind::kBroken, i, 0};
    code_point = code_point << 6 | (byte & 0x3Fu);
  }
  return {Utf8Kind::kCharacter, lead.length, code_point};
}

size_t CompleteUtf8Prefix(std::string_view bytes) {
  // Only the last 3 bytes can begin a character that is cut off, and a lead
  // byte is never the inside of another character.
  const size_t first = bytes.size() - std::min<size_t>(bytes.size(), 3);
  for (size_t i = bytes.size(); i-- > first;) {
    const auto byte = static_cast<uint8_t>(bytes[i]);
    if (byte >= 0x80 && byte < 0xC0) continue;
    const bool cut = NextUtf8(bytes.substr(i)).kind == Utf8Kind::kIncomplete;
    return cut ? i : bytes.size();
  }
  return bytes.size();
}

size_t ValidUtf8Prefix(std::string_view bytes) {
  size_t at = 0;
  while (at < bytes.size()) {
    uint64_t word = 0;
    if (at + sizeof(word) <= bytes.size()) {
      std::memcpy(&word, bytes.data() + at, sizeof(word));
      if ((word & kNoAscii) == 0) {
        at += sizeof(word);
        continue;
      }
    }
    const Utf8Step step = NextUtf8(bytes.substr(at));
    if (step.kind != Utf8Kind::kCharacter) return at;
    at += step.length;
  }
  return at;
}

char32_t LastCharacter(std::string_view text) {
  assert(!text.empty());
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xC0u) == 0x80) --at;
  return NextUtf8(text.substr(at)).code_point;
}

std::string EncodeUtf8(char32_t code_point) {
  const auto tail = [code_point](unsigned shift) {
    return static_cast<char>(0x80 | (code_point >> shift & 0x3F));
  };
  const auto lead = [code_point](unsigned mark, unsigned shift) {
    return static_cast<char>(mark | code_point >> shift);
  };
  if (code_point < 0x80) return {lead(0, 0)};
  if (code_point < 0x800) return {lead(0xC0, 6), tail(0)};
  if (code_point < 0x10000) return {lead(0xE0, 12), tail(6), tail(0)};
  return {lead(0xF0, 18), tail(12), tail(6), tail(0)};
}

std::string ToValidUtf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const Utf8Step step = NextUtf8(bytes);
    text.append(step.kind == Utf8Kind::kCharacter ? bytes.substr(0, step.length)
                                                  : kReplacement);
    bytes.remove_prefix(step.length);
  }
  return text;
}

}  // namespace chela
