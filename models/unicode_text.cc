#include "models/unicode_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "models/utf8.h"

namespace chela {
namespace {

// Below it every character is in form C and starts anew.
constexpr char32_t kFirstMark = 0x300;
constexpr uint8_t kLeadOfFirstMark = 0xCC;
// Composes with nothing, but the library (2.8) drops it behind a syllable.
constexpr char32_t kBeforeTrailingJamo = 0x11A7;
constexpr char32_t kCodePoints = 0x110000;
// The longest canonical decomposition of one character is 4 code points.
constexpr size_t kMaxDecomposition = 8;
constexpr auto kCompose =
    static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);

int CombiningClass(utf8proc_int32_t code_point) {
  return utf8proc_get_property(code_point)->combining_class;
}

using Decomposition = std::array<utf8proc_int32_t, kMaxDecomposition>;

// Returns how many of `parts` are used.
size_t Decompose(char32_t code_point, Decomposition& parts) {
  int boundary_class = 0;
  const utf8proc_ssize_t count = utf8proc_decompose_char(
      static_cast<utf8proc_int32_t>(code_point), parts.data(), parts.size(),
      UTF8PROC_DECOMPOSE, &boundary_class);
  return count < 0 ? 0 : std::min<size_t>(static_cast<size_t>(count), 8);
}

bool IsPlain(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char byte) {
    return static_cast<uint8_t>(byte) >= kLeadOfFirstMark;
  });
}

// Canonical ordering. The library's own is an insertion sort, quadratic in a
// run of marks.
void SortMarks(std::vector<utf8proc_int32_t>& codes) {
  const auto is_mark = [](utf8proc_int32_t c) { return CombiningClass(c) > 0; };
  auto begin = codes.begin();
  while (true) {
    begin = std::find_if(begin, codes.end(), is_mark);
    if (begin == codes.end()) return;
    const auto end = std::find_if_not(begin, codes.end(), is_mark);
    std::stable_sort(begin, end, [](utf8proc_int32_t a, utf8proc_int32_t b) {
      return CombiningClass(a) < CombiningClass(b);
    });
    begin = end;
  }
}

// Moves the composition of `codes`, decomposed, to the end of `text`.
void Compose(std::vector<utf8proc_int32_t>& codes, std::string& text) {
  SortMarks(codes);
  const utf8proc_ssize_t length = utf8proc_normalize_utf32(
      codes.data(), static_cast<utf8proc_ssize_t>(codes.size()), kCompose);
  for (utf8proc_ssize_t i = 0; i < length; ++i) {
    text += EncodeUtf8(static_cast<char32_t>(codes[static_cast<size_t>(i)]));
  }
  codes.clear();
}

}  // namespace

bool IsWhiteSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsWordCharacter(char32_t c) {
  // Alphabetic symbols: circled and squared letters.
  if ((c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
      (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189)) {
    return true;
  }
  if (c == 0x200C || c == 0x200D) return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return false;
  }
}

NfcNormalizer::NfcNormalizer() {
  Decomposition parts = {};
  for (char32_t c = kFirstMark; c < kCodePoints; ++c) {
    const size_t count = Decompose(c, parts);
    for (size_t i = 1; i < count; ++i) {
      if (CombiningClass(parts[i]) == 0) {
        second_starters_.insert(static_cast<char32_t>(parts[i]));
      }
    }
  }
}

bool NfcNormalizer::StartsAnew(char32_t c) const {
  if (c < kFirstMark) return true;
  Decomposition parts = {};
  if (Decompose(c, parts) == 0) return false;
  return CombiningClass(parts[0]) == 0 &&
         !second_starters_.contains(static_cast<char32_t>(parts[0]));
}

size_t NfcNormalizer::LastBoundary(std::string_view text) const {
  size_t at = text.size();
  while (at > 0) {
    const char32_t last = LastCharacter(text.substr(0, at));
    at -= EncodeUtf8(last).size();
    if (StartsAnew(last)) return at;
  }
  return 0;
}

std::string NfcNormalizer::Normalize(std::string_view text) const {
  if (IsPlain(text)) return std::string(text);
  std::string composed;
  composed.reserve(text.size());
  std::vector<utf8proc_int32_t> codes;
  Decomposition parts = {};
  while (!text.empty()) {
    const Utf8Step step = NextUtf8(text);
    if (step.code_point == kBeforeTrailingJamo) Compose(codes, composed);
    const size_t count = Decompose(step.code_point, parts);
    codes.insert(codes.end(), parts.begin(),
                 parts.begin() + static_cast<std::ptrdiff_t>(count));
    text.remove_prefix(step.length);
  }
  Compose(codes, composed);
  return composed;
}

}  // namespace chela
