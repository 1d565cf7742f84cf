#ifndef CHELA_MODELS_REGEX_SYNTAX_H_
#define CHELA_MODELS_REGEX_SYNTAX_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace chela {

// The pattern for PCRE2 (UTF, UCP) that matches what `pattern` of a
// tokenizer.json matches in Oniguruma, which the tokenizers library uses.
//
// Only what means the same in both passes: literals, escaped punctuation,
// \r \n \t \d \D \s \S, \p{..} and \P{..} of general categories, ".", classes
// without set operations, "|", the quantifiers ? * + {n,m}, groups (...),
// (?:...), (?i:...), lookahead. \s becomes the property White_Space, since
// PCRE2's own also takes U+180E. INVALID_ARGUMENT, naming the place, for the
// rest; also for
// - lookbehind, ^ and $: a piece must not depend on what stands before it,
//   or text could not be encoded as it comes in;
// - repeated groups, (...)* and the like: they can take exponential time.
absl::StatusOr<std::string> ToPcreSyntax(std::string_view pattern);

}  // namespace chela

#endif  // CHELA_MODELS_REGEX_SYNTAX_H_
