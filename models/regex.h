#ifndef CHELA_MODELS_REGEX_H_
#define CHELA_MODELS_REGEX_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

struct pcre2_real_code_8;
struct pcre2_real_match_context_8;
struct pcre2_real_match_data_8;

namespace chela {

// A pattern of a tokenizer.json, compiled by PCRE2 (to machine code where the
// system allows that). Immutable; every thread matches with its own Matcher.
class Regex {
 public:
  // INVALID_ARGUMENT for what ToPcreSyntax or PCRE2 refuses, and for a pattern
  // that matches the empty string, which cuts nothing.
  static absl::StatusOr<Regex> Compile(std::string_view pattern);

  // Room for one search at a time. Must not outlive its Regex.
  class Matcher {
   public:
    explicit Matcher(const Regex& regex);

    enum class Outcome {
      kMatch,
      kNone,
      kOpen,  // only if `open`: depends on what follows the text
    };
    struct Result {
      Outcome outcome = Outcome::kNone;
      size_t begin = 0;
      size_t end = 0;
    };
    // The first match in `text`, valid UTF-8. Not empty, as the pattern.
    // open: more text may follow, and a match is reported only if it is the
    // same whatever that is.
    Result Find(std::string_view text, bool open);

   private:
    struct Free {
      void operator()(pcre2_real_match_data_8* data) const;
      void operator()(pcre2_real_match_context_8* context) const;
    };
    const pcre2_real_code_8* code_;
    std::unique_ptr<pcre2_real_match_data_8, Free> data_;
    std::unique_ptr<pcre2_real_match_context_8, Free> context_;
  };

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  using Code = std::unique_ptr<pcre2_real_code_8, Free>;
  explicit Regex(Code code) : code_(std::move(code)) {}

  Code code_;
};

}  // namespace chela

#endif  // CHELA_MODELS_REGEX_H_
