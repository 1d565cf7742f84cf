#ifndef CHELA_MODELS_UNICODE_TEXT_H_
#define CHELA_MODELS_UNICODE_TEXT_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_set.h"

namespace chela {

// Properties of characters, and normalisation form C, by utf8proc's tables.

// The Unicode property White_Space: what \s means in a tokenizer.json.
bool IsWhiteSpace(char32_t code_point);

// What \w means there: Alphabetic, marks, decimal digits, connector
// punctuation, and the two joiners (Unicode TS 18, annex C).
bool IsWordCharacter(char32_t code_point);

// Canonical composition (NFC) of valid UTF-8, in O(n log n) also for long runs
// of combining marks. Immutable and thread-safe.
class NfcNormalizer {
 public:
  NfcNormalizer();

  std::string Normalize(std::string_view text) const;

  // Whether `code_point` never changes, and is never changed by, what stands
  // before it: text may be cut before it and normalised in parts.
  bool StartsAnew(char32_t code_point) const;
  // The last place in `text` before a character that starts anew; 0 if none.
  size_t LastBoundary(std::string_view text) const;

 private:
  // Starters that can be the second part of a composition. (Marks, which are
  // no starters, are not listed.)
  absl::flat_hash_set<char32_t> second_starters_;
};

}  // namespace chela

#endif  // CHELA_MODELS_UNICODE_TEXT_H_
