#include "models/unit_splitter.h"

#include <cassert>

#include "models/utf8.h"

namespace chela {
namespace {

constexpr char32_t kMark = 0x2581;

uint64_t PairKey(char32_t a, char32_t b) { return uint64_t{a} << 32 | b; }

}  // namespace

void UnitSplitter::AddPiece(std::string_view piece) {
  char32_t previous = 0;
  for (size_t i = 0; i < piece.size();) {
    const Utf8Step step = NextUtf8(piece.substr(i));
    assert(step.kind == Utf8Kind::kCharacter);
    const char32_t code = step.code_point == kMark ? U' ' : step.code_point;
    if (step.length == piece.size()) known_.insert(code);
    if (i > 0 && previous < kAscii && code < kAscii) {
      ascii_pairs_.set(previous * kAscii + code);
    } else if (i > 0) {
      other_pairs_.insert(PairKey(previous, code));
    }
    previous = code;
    i += step.length;
  }
}

UnitSplitter::Char UnitSplitter::Read(std::string_view text) const {
  const Utf8Step step = NextUtf8(text);
  Char result;
  result.size_bytes = step.length;
  result.code = step.code_point;
  result.cut_off = step.kind == Utf8Kind::kIncomplete;
  result.raw = step.kind != Utf8Kind::kCharacter || step.code_point == 0;
  if (step.code_point == kMark) {
    result.raw = byte_fallback_;
    result.code = U' ';
  }
  return result;
}

bool UnitSplitter::Joined(char32_t a, char32_t b) const {
  const bool paired = a < kAscii && b < kAscii
                          ? ascii_pairs_.test(a * kAscii + b)
                          : other_pairs_.contains(PairKey(a, b));
  if (paired || byte_fallback_) return paired;
  return !known_.contains(a) && !known_.contains(b);
}

UnitSplitter::Unit UnitSplitter::First(std::string_view text) const {
  Char previous = Read(text);
  Unit unit{previous.size_bytes, previous.raw, previous.cut_off};
  if (unit.raw) return unit;
  while (unit.size_bytes < text.size()) {
    const Char next = Read(text.substr(unit.size_bytes));
    if (next.cut_off) {
      unit.open = true;
      return unit;
    }
    if (next.raw || !Joined(previous.code, next.code) ||
        unit.size_bytes + next.size_bytes > kMaxBytes) {
      return unit;
    }
    unit.size_bytes += next.size_bytes;
    previous = next;
  }
  unit.open = true;
  return unit;
}

bool UnitSplitter::JoinsSpace(std::string_view text) const {
  const Char first = Read(text);
  return !first.raw && Joined(U' ', first.code);
}

}  // namespace chela
