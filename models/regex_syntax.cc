#include "models/regex_syntax.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "models/json_text.h"

namespace chela {
namespace {

constexpr size_t kMaxPatternBytes = 4096;
constexpr std::string_view kQuantifiers = "?*+{";

// Letters that Oniguruma, ignoring case, also matches as one ligature.
constexpr std::string_view kLigatures[] = {"ss", "ff", "fi", "fl", "st"};

bool IsCategory(std::string_view name) {
  static constexpr std::string_view kSecond[] = {
      "Cc", "Cf", "Cn", "Co", "Ll", "Lm", "Lo", "Lt", "Lu", "Mc",
      "Me", "Mn", "Nd", "Nl", "No", "Pc", "Pd", "Pe", "Pf", "Pi",
      "Po", "Ps", "Sc", "Sk", "Sm", "So", "Zl", "Zp", "Zs"};
  for (const std::string_view known : kSecond) {
    if (name == known || name == known.substr(0, 1)) return true;
  }
  return false;
}

// Walks a pattern once and writes the translation beside it.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  absl::StatusOr<std::string> Run() {
    while (at_ < in_.size()) CHELA_RETURN_IF_ERROR(Item());
    if (!ignores_case_.empty()) return Refuse("a group without an end");
    return std::move(out_);
  }

 private:
  absl::Status Refuse(std::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrCat(absl::string_view(what.data(), what.size()), " at byte ",
                     at_, " of ", Quoted(in_), "; want a pattern without it"));
  }
  bool Next(std::string_view text) const {
    return in_.substr(at_).starts_with(text);
  }
  char Peek(size_t ahead = 0) const {
    return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0';
  }
  void Copy(size_t bytes) {
    out_.append(in_.substr(at_, bytes));
    at_ += bytes;
  }
  bool ignores_case() const {
    return !ignores_case_.empty() && ignores_case_.back();
  }

  absl::Status Item() {
    const char c = in_[at_];
    if (c != '(' && c != ')' && c != '|' && c != '[' && c != '\\') {
      return Literal(c);
    }
    last_letter_ = '\0';
    if (c == '(') return Open();
    if (c == ')') return Close();
    if (c == '|') {
      Copy(1);
      return absl::OkStatus();
    }
    CHELA_RETURN_IF_ERROR(c == '[' ? Class() : Escape().status());
    return Quantifier();
  }

  absl::Status Literal(char c) {
    if (c == '^' || c == '$') return Refuse("an anchor");
    if (kQuantifiers.find(c) != std::string_view::npos) {
      return Refuse("a quantifier of nothing");
    }
    if (ignores_case()) {
      if (!absl::ascii_isascii(static_cast<unsigned char>(c))) {
        return Refuse("a letter beyond ASCII under (?i:");
      }
      const char pair[] = {last_letter_, absl::ascii_tolower(c)};
      for (const std::string_view ligature : kLigatures) {
        if (ligature == std::string_view(pair, 2)) {
          return Refuse("letters that form a ligature under (?i:");
        }
      }
      last_letter_ = pair[1];
    }
    Copy(1);
    // The bytes of one character belong together.
    while ((static_cast<unsigned char>(Peek()) & 0xC0) == 0x80) Copy(1);
    return Quantifier();
  }

  absl::Status Open() {
    bool ignores = ignores_case();
    if (Next("(?i:")) {
      ignores = true;
      Copy(4);
    } else if (Next("(?:") || Next("(?=") || Next("(?!")) {
      Copy(3);
    } else if (Next("(?") || Next("(*")) {
      return Refuse("a group of an unsupported kind");
    } else {
      Copy(1);
    }
    ignores_case_.push_back(ignores);
    return absl::OkStatus();
  }

  absl::Status Close() {
    if (ignores_case_.empty()) return Refuse("a group without a start");
    ignores_case_.pop_back();
    Copy(1);
    if (Peek() == '?') Copy(1);
    if (at_ < in_.size() && kQuantifiers.find(Peek()) != std::string::npos) {
      return Refuse("a repeated group");
    }
    return absl::OkStatus();
  }

  // After an item: ? * + {n} {n,} {n,m}, the first three also lazy (?) or
  // possessive (+), which a brace does not mean in both libraries.
  absl::Status Quantifier() {
    const char c = Peek();
    if (at_ == in_.size() || kQuantifiers.find(c) == std::string_view::npos) {
      return absl::OkStatus();
    }
    if (c == '{') {
      CHELA_RETURN_IF_ERROR(Braces());
    } else {
      Copy(1);
      if (Peek() == '?' || Peek() == '+') Copy(1);
    }
    last_letter_ = '\0';
    if (at_ < in_.size() && kQuantifiers.find(Peek()) != std::string::npos) {
      return Refuse("a quantifier of a quantifier");
    }
    return absl::OkStatus();
  }

  absl::Status Braces() {
    size_t length = 1;
    size_t digits = 0;
    while (absl::ascii_isdigit(static_cast<unsigned char>(Peek(length)))) {
      ++length;
      ++digits;
    }
    if (Peek(length) == ',') ++length;
    while (absl::ascii_isdigit(static_cast<unsigned char>(Peek(length)))) {
      ++length;
    }
    if (digits == 0 || Peek(length) != '}') return Refuse("a brace");
    Copy(length + 1);
    return absl::OkStatus();
  }

  // Whether the escape is a set of characters, not one.
  absl::StatusOr<bool> Escape() {
    const char c = Peek(1);
    if (c == 'p' || c == 'P') return Property();
    if (c == 's' || c == 'S') {
      out_ += c == 's' ? "\\p{White_Space}" : "\\P{White_Space}";
      at_ += 2;
      return true;
    }
    const bool digit = c == 'd' || c == 'D';
    if (!digit && c != 'r' && c != 'n' && c != 't' &&
        !absl::ascii_ispunct(static_cast<unsigned char>(c))) {
      return Refuse("an escape");
    }
    Copy(2);
    return digit;
  }

  absl::StatusOr<bool> Property() {
    const size_t end = in_.find('}', at_);
    if (Peek(2) != '{' || end == std::string_view::npos ||
        !IsCategory(in_.substr(at_ + 3, end - at_ - 3))) {
      return Refuse("a property that is no general category");
    }
    Copy(end + 1 - at_);
    return true;
  }

  absl::Status Class() {
    Copy(1);
    if (Peek() == '^') Copy(1);
    if (Peek() == ']') return Refuse("an empty class");
    bool after_set = false;
    for (bool first = true; Peek() != ']'; first = false) {
      if (at_ == in_.size()) return Refuse("a class without an end");
      if (Peek() == '[' || Next("&&")) return Refuse("a class in a class");
      const bool range = Peek() == '-' && !first && Peek(1) != ']';
      if (range && after_set) return Refuse("a range of sets");
      if (Peek() == '\\') {
        const bool ends_range = in_[at_ - 1] == '-' && !first;
        const absl::StatusOr<bool> set = Escape();
        if (!set.ok()) return set.status();
        if (*set && ends_range) return Refuse("a range of sets");
        after_set = *set;
      } else {
        if (ignores_case() && (Peek() & 0x80) != 0) {
          return Refuse("a letter beyond ASCII under (?i:");
        }
        Copy(1);
        after_set = false;
      }
    }
    Copy(1);
    return absl::OkStatus();
  }

  std::string_view in_;
  size_t at_ = 0;
  std::string out_;
  std::vector<bool> ignores_case_;  // one for each open group
  char last_letter_ = '\0';
};

}  // namespace

absl::StatusOr<std::string> ToPcreSyntax(std::string_view pattern) {
  if (pattern.empty() || pattern.size() > kMaxPatternBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(pattern.size(), " bytes; want a pattern of 1 to ",
                     kMaxPatternBytes, " bytes"));
  }
  return Translator(pattern).Run();
}

}  // namespace chela
