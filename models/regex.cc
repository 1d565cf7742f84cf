#include "models/regex.h"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/json_text.h"
#include "models/regex_syntax.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace chela {
namespace {

// Backtracking of one search. Patterns of published models take one or two
// steps a byte of a run, and PreTokenizer bounds those to a mebibyte; more than
// this is a hostile pattern, whose search then finds nothing.
constexpr uint32_t kMaxSteps = uint32_t{64} << 20;
constexpr uint32_t kCompileOptions = PCRE2_UTF | PCRE2_UCP;

struct FreeCompileContext {
  void operator()(pcre2_compile_context* context) const {
    pcre2_compile_context_free(context);
  }
};

std::string ErrorText(int code) {
  PCRE2_UCHAR text[128] = {};
  pcre2_get_error_message(code, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

}  // namespace

absl::StatusOr<Regex> Regex::Compile(std::string_view pattern) {
  const absl::StatusOr<std::string> syntax = ToPcreSyntax(pattern);
  if (!syntax.ok()) return syntax.status();
  // "." means the same whatever newline PCRE2 was built for.
  const std::unique_ptr<pcre2_compile_context, FreeCompileContext> context(
      pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(syntax->data()),
                          syntax->size(), kCompileOptions, &error, &offset,
                          context.get()));
  if (code == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        Quoted(pattern), ": ", ErrorText(error), "; want a valid pattern"));
  }
  uint32_t matches_empty = 0;
  pcre2_pattern_info(code.get(), PCRE2_INFO_MATCHEMPTY, &matches_empty);
  if (matches_empty != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        Quoted(pattern),
        " matches the empty string; want a pattern that does not"));
  }
  // Without it (no executable memory) the interpreter matches the same.
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);
  return Regex(std::move(code));
}

void Regex::Free::operator()(pcre2_real_code_8* code) const {
  pcre2_code_free(code);
}

void Regex::Matcher::Free::operator()(pcre2_real_match_data_8* data) const {
  pcre2_match_data_free(data);
}

void Regex::Matcher::Free::operator()(
    pcre2_real_match_context_8* context) const {
  pcre2_match_context_free(context);
}

Regex::Matcher::Matcher(const Regex& regex)
    : code_(regex.code_.get()),
      data_(pcre2_match_data_create(1, nullptr)),
      context_(pcre2_match_context_create(nullptr)) {
  pcre2_set_match_limit(context_.get(), kMaxSteps);
  pcre2_set_depth_limit(context_.get(), kMaxSteps);
}

Regex::Matcher::Result Regex::Matcher::Find(std::string_view text, bool open) {
  const uint32_t options =
      PCRE2_NO_UTF_CHECK | (open ? PCRE2_PARTIAL_HARD : 0u);
  const auto match = [&](uint32_t more) {
    return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()),
                       text.size(), 0, options | more, data_.get(),
                       context_.get());
  };
  int code = match(0);
  // The interpreter keeps its stack on the heap.
  if (code == PCRE2_ERROR_JIT_STACKLIMIT) code = match(PCRE2_NO_JIT);
  if (code == PCRE2_ERROR_PARTIAL) return {Outcome::kOpen};
  if (code < 0) return {Outcome::kNone};
  const PCRE2_SIZE* const ends = pcre2_get_ovector_pointer(data_.get());
  return {Outcome::kMatch, ends[0], ends[1]};
}

}  // namespace chela
