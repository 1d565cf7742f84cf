#include "models/pre_tokenizer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "models/utf8.h"

namespace chela {

absl::StatusOr<PreTokenizer> PreTokenizer::Create(
    const std::vector<std::string>& patterns) {
  PreTokenizer rules;
  for (const std::string& pattern : patterns) {
    absl::StatusOr<Regex> regex = Regex::Compile(pattern);
    if (!regex.ok()) return regex.status();
    rules.patterns_.push_back(*std::move(regex));
  }
  return rules;
}

PreTokenizer::Cutter::Cutter(const PreTokenizer& rules) {
  matchers_.reserve(rules.patterns_.size());
  for (const Regex& pattern : rules.patterns_) matchers_.emplace_back(pattern);
}

size_t PreTokenizer::Cutter::First(size_t level, std::string_view text,
                                   bool open) {
  if (text.size() > kMaxPieceBytes) {
    text = text.substr(0, CompleteUtf8Prefix(text.substr(0, kMaxPieceBytes)));
    open = false;
  }
  using Outcome = Regex::Matcher::Outcome;
  Regex::Matcher::Result result;
  if (level < matchers_.size()) result = matchers_[level].Find(text, open);
  if (result.outcome == Outcome::kMatch) {
    return result.begin > 0 ? result.begin : result.end;
  }
  return open ? 0 : text.size();
}

void PreTokenizer::Cutter::Cut(size_t level, std::string_view text,
                               absl::FunctionRef<void(std::string_view)> sink) {
  const bool last = level + 1 >= matchers_.size();
  while (!text.empty()) {
    const std::string_view piece =
        text.substr(0, First(level, text, /*open=*/false));
    if (last) {
      sink(piece);
    } else {
      Cut(level + 1, piece, sink);
    }
    text.remove_prefix(piece.size());
  }
}

std::vector<size_t> PreTokenizer::Cutter::SettledEnds(std::string_view text) {
  std::vector<size_t> ends;
  // Pieces whose search went beyond the last end: cut there, the text might be
  // cut into other pieces.
  std::vector<std::string_view> reaching;
  size_t at = 0;
  while (at < text.size()) {
    const std::string_view rest = text.substr(at);
    const std::string_view piece =
        rest.substr(0, First(0, rest, /*open=*/true));
    if (piece.empty()) break;
    at += piece.size();
    std::erase_if(reaching, [&](std::string_view earlier) {
      const std::string_view to_end(earlier.data(),
                                    text.substr(0, at).end() - earlier.begin());
      return First(0, to_end, /*open=*/true) == earlier.size();
    });
    const bool alone = First(0, piece, /*open=*/false) == piece.size();
    if (reaching.empty() && alone) ends.push_back(at);
    reaching.push_back(piece);
  }
  return ends;
}

}  // namespace chela
