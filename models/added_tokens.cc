#include "models/added_tokens.h"

#include <algorithm>
#include <utility>

#include "models/unicode_text.h"
#include "models/utf8.h"

namespace chela {
namespace {

bool WordBefore(std::string_view text, size_t at) {
  return at > 0 && IsWordCharacter(LastCharacter(text.substr(0, at)));
}

bool WordAt(std::string_view text, size_t at) {
  return at < text.size() &&
         IsWordCharacter(NextUtf8(text.substr(at)).code_point);
}

size_t WhiteSpaceBegin(std::string_view text, size_t begin, size_t end) {
  while (end > begin) {
    const char32_t last = LastCharacter(text.substr(begin, end - begin));
    if (!IsWhiteSpace(last)) break;
    end -= EncodeUtf8(last).size();
  }
  return end;
}

size_t WhiteSpaceEnd(std::string_view text, size_t at) {
  while (at < text.size()) {
    const Utf8Step step = NextUtf8(text.substr(at));
    if (!IsWhiteSpace(step.code_point)) break;
    at += step.length;
  }
  return at;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)) {
  std::sort(tokens_.begin(), tokens_.end(),
            [](const AddedToken& a, const AddedToken& b) {
              return a.content < b.content;
            });
  for (const AddedToken& token : tokens_) {
    starts_[static_cast<uint8_t>(token.content[0])] = true;
    lstrip_ = lstrip_ || token.lstrip;
    single_word_ = single_word_ || token.single_word;
  }
}

AddedTokens::Longest AddedTokens::LongestAt(std::string_view text) const {
  Longest longest;
  auto begin = tokens_.begin();  // The tokens that begin with text[0, size).
  auto end = tokens_.end();
  for (size_t size = 0; begin != end; ++size) {
    if (begin->content.size() == size) {
      longest.token = &*begin;
      ++begin;
    }
    if (size == text.size()) {
      longest.cut_off = begin != end;
      break;
    }
    const auto want = static_cast<uint8_t>(text[size]);
    const auto byte = [size](const AddedToken& token) {
      return static_cast<uint8_t>(token.content[size]);
    };
    begin = std::partition_point(begin, end, [&](const AddedToken& token) {
      return byte(token) < want;
    });
    end = std::partition_point(begin, end, [&](const AddedToken& token) {
      return byte(token) == want;
    });
  }
  return longest;
}

AddedTokens::Span AddedTokens::Occurrence(std::string_view text,
                                          const AddedToken& token, size_t at,
                                          size_t done) const {
  Span span{at, at + token.content.size(), &token};
  if (token.lstrip) span.begin = WhiteSpaceBegin(text, done, at);
  if (token.rstrip) span.end = WhiteSpaceEnd(text, span.end);
  return span;
}

void AddedTokens::Scan(std::string_view text, bool open,
                       absl::FunctionRef<void(Span)> sink, Span* tail) const {
  size_t done = 0;
  size_t at = tokens_.empty() ? text.size() : 0;
  while (at < text.size()) {
    if (!starts_[static_cast<uint8_t>(text[at])]) {
      ++at;
      continue;
    }
    const Longest found = LongestAt(text.substr(at));
    if (open && found.cut_off) break;
    if (found.token == nullptr) {
      ++at;
      continue;
    }
    const AddedToken& token = *found.token;
    const size_t end = at + token.content.size();
    const Span span = Occurrence(text, token, at, done);
    const bool looks_on = token.single_word || token.rstrip;
    if (open && looks_on && span.end == text.size()) break;
    if (token.single_word && (WordBefore(text, at) || WordAt(text, end))) {
      at = end;
      continue;
    }
    if (done < span.begin) sink({done, span.begin});
    sink(span);
    at = done = span.end;
  }
  *tail = {done, at};
}

void AddedTokens::Split(std::string_view text,
                        absl::FunctionRef<void(Span)> sink) const {
  Span tail;
  Scan(text, /*open=*/false, sink, &tail);
  if (tail.begin < tail.end) sink(tail);
}

void AddedTokens::SplitOpen(std::string_view text,
                            absl::FunctionRef<void(Span)> sink,
                            Span* tail) const {
  Scan(text, /*open=*/true, sink, tail);
  if (lstrip_) tail->end = WhiteSpaceBegin(text, tail->begin, tail->end);
}

bool AddedTokens::MayCut(std::string_view text, size_t at) const {
  if (!single_word_) return true;
  const std::string_view before = text.substr(0, at);
  const std::string_view after = text.substr(at);
  const bool word_before = WordBefore(text, at);
  const bool word_after = after.empty() || WordAt(text, at);
  return std::none_of(
      tokens_.begin(), tokens_.end(), [&](const AddedToken& token) {
        if (!token.single_word) return false;
        const std::string_view content = token.content;
        return (word_after && before.ends_with(content)) ||
               (word_before &&
                (after.starts_with(content) || content.starts_with(after)));
      });
}

}  // namespace chela
