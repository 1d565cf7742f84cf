// ByteLevelTokenizer::StablePrefix: the stages of encoding once more, each
// keeping only what the text that follows cannot change.
#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "models/byte_level_tokenizer.h"
#include "models/utf8.h"

namespace chela {

// Places where a text may be cut. All texts are valid UTF-8 and may go on;
// after_token: the text follows an added token (else it is the start of what is
// known: of a text or of the rest of one).
class ByteLevelTokenizer::StableEnd {
 public:
  explicit StableEnd(const ByteLevelTokenizer& tokenizer)
      : tokenizer_(tokenizer) {}

  // The last place in `text`.
  size_t In(std::string_view text) const {
    size_t last = 0;
    const auto offer = [&](size_t at) {
      if (at > last && tokenizer_.raw_tokens_.MayCut(text, at)) last = at;
    };
    AddedTokens::Span tail;
    tokenizer_.raw_tokens_.SplitOpen(
        text, [&](AddedTokens::Span span) { OfferEdges(span, offer); }, &tail);
    for (const size_t at : InText(
             text.substr(tail.begin, tail.end - tail.begin), tail.begin > 0)) {
      offer(tail.begin + at);
    }
    return last;
  }

 private:
  // A text right behind a token would get a space in front, a fresh one not.
  void OfferEdges(AddedTokens::Span span,
                  absl::FunctionRef<void(size_t)> offer) const {
    if (span.token == nullptr) return;
    offer(span.begin);
    if (!tokenizer_.file_.add_prefix_space) offer(span.end);
  }

  std::vector<size_t> InText(std::string_view text, bool after_token) const {
    if (!tokenizer_.nfc_.has_value()) return InNormalized(text, after_token);
    const NfcNormalizer& nfc = *tokenizer_.nfc_;
    text = text.substr(0, nfc.LastBoundary(text));
    const std::string composed = nfc.Normalize(text);
    const std::vector<size_t> places = InNormalized(composed, after_token);
    // Parts of a text in form C are in form C.
    return composed == text ? places : ToRaw(text, places);
  }

  // The places of `text` whose places after normalisation are `places`, as far
  // as text may be normalised in parts there.
  std::vector<size_t> ToRaw(std::string_view text,
                            const std::vector<size_t>& places) const {
    const NfcNormalizer& nfc = *tokenizer_.nfc_;
    std::vector<size_t> raw;
    auto place = places.begin();
    size_t normalized = 0;
    for (size_t begin = 0, end = 0; begin < text.size(); begin = end) {
      Utf8Step step = NextUtf8(text.substr(begin));
      end = begin;
      do {
        end += step.length;
        if (end == text.size()) break;
        step = NextUtf8(text.substr(end));
      } while (!nfc.StartsAnew(step.code_point));
      normalized += nfc.Normalize(text.substr(begin, end - begin)).size();
      place = std::lower_bound(place, places.end(), normalized);
      if (place != places.end() && *place == normalized) raw.push_back(end);
    }
    return raw;
  }

  std::vector<size_t> InNormalized(std::string_view text,
                                   bool after_token) const {
    const AddedTokens& tokens = tokenizer_.normalized_tokens_;
    std::vector<size_t> places;
    const auto offer = [&](size_t at) {
      if (at > 0 && tokens.MayCut(text, at)) places.push_back(at);
    };
    AddedTokens::Span tail;
    tokens.SplitOpen(
        text, [&](AddedTokens::Span span) { OfferEdges(span, offer); }, &tail);
    for (const size_t at :
         InPieces(text.substr(tail.begin, tail.end - tail.begin),
                  after_token || tail.begin > 0)) {
      offer(tail.begin + at);
    }
    return places;
  }

  std::vector<size_t> InPieces(std::string_view text, bool after_token) const {
    PreTokenizer::Cutter cutter(tokenizer_.pre_tokenizer_);
    if (!tokenizer_.file_.add_prefix_space || text.empty() || text[0] == ' ') {
      return cutter.SettledEnds(text);
    }
    std::vector<size_t> prefixed;
    for (const size_t end : cutter.SettledEnds(
             absl::StrCat(" ", absl::string_view(text.data(), text.size())))) {
      if (end > 1) prefixed.push_back(end - 1);
    }
    if (after_token) return prefixed;
    // Nobody says whether the text is a start or a rest: both must agree.
    const std::vector<size_t> plain = cutter.SettledEnds(text);
    std::vector<size_t> both;
    std::set_intersection(prefixed.begin(), prefixed.end(), plain.begin(),
                          plain.end(), std::back_inserter(both));
    return both;
  }

  const ByteLevelTokenizer& tokenizer_;
};

size_t ByteLevelTokenizer::StablePrefix(std::string_view text) const {
  size_t base = 0;
  while (base < text.size()) {
    const std::string_view rest = text.substr(base);
    const size_t valid = ValidUtf8Prefix(rest);
    const Utf8Step next = valid < rest.size() ? NextUtf8(rest.substr(valid))
                                              : Utf8Step{Utf8Kind::kIncomplete};
    if (next.kind == Utf8Kind::kIncomplete) {
      return base + StableEnd(*this).In(rest.substr(0, valid));
    }
    base += valid + next.length;
  }
  return base;
}

}  // namespace chela
