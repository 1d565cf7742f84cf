#include "models/text_stream.h"

#include <algorithm>
#include <utility>

namespace chela {
namespace {

std::vector<size_t> BordersOf(std::string_view text) {
  std::vector<size_t> borders(text.size(), 0);
  size_t border = 0;
  for (size_t i = 1; i < text.size(); ++i) {
    while (border > 0 && text[i] != text[border]) border = borders[border - 1];
    if (text[i] == text[border]) ++border;
    borders[i] = border;
  }
  return borders;
}

}  // namespace

TextStream::TextStream(std::vector<std::string> stops, bool include_stop,
                       const TextState& earlier)
    : include_stop_(include_stop), cut_(earlier.cut), tail_(earlier.tail) {
  for (std::string& stop : stops) {
    if (stop.empty() || ToValidUtf8(stop) != stop) continue;
    std::vector<size_t> borders = BordersOf(stop);
    stops_.push_back({std::move(stop), std::move(borders), 0});
  }
  for (const char byte : earlier.tail) {
    if (Advance(byte) != nullptr) PassOver();
  }
}

TextStream::Output TextStream::Push(std::string_view bytes, bool may_stop) {
  cut_.append(bytes);
  const size_t complete = CompleteUtf8Prefix(cut_);
  const std::string fresh =
      ToValidUtf8(std::string_view(cut_).substr(0, complete));
  cut_.erase(0, complete);
  Remember(fresh);
  for (const char byte : fresh) {
    text_.push_back(byte);
    ++text_bytes_;
    const Stop* stop = Advance(byte);
    if (stop == nullptr) continue;
    if (!may_stop) {
      PassOver();
      continue;
    }
    stop_from_ = text_bytes_ - static_cast<int64_t>(stop->text.size());
    // What an earlier stream has sent of it is not here to be dropped.
    const size_t held = text_.size() - sent_;
    const size_t dropped =
        include_stop_ ? 0 : std::min(stop->text.size(), held);
    Output output{TakeText(held - dropped), stop->text};
    cut_.clear();
    text_.clear();
    sent_ = 0;
    return output;
  }
  // Cuts no character: what is held back is a prefix of a stop, and starts
  // like it with the first byte of a character.
  const size_t held = text_.size() - sent_;
  return {TakeText(held - std::min(held, HeldBytes())), std::nullopt};
}

std::string TextStream::Finish() {
  truncated_bytes_ += cut_.size();
  cut_.clear();
  for (Stop& stop : stops_) stop.matched = 0;
  return TakeText(text_.size() - sent_);
}

TextState TextStream::State() const {
  const size_t size = std::min(tail_.size(), kMaxTextTail);
  return {cut_, tail_.substr(tail_.size() - size)};
}

int64_t TextStream::undecided_from() const {
  if (stop_from_.has_value()) return *stop_from_;
  return text_bytes_ - static_cast<int64_t>(HeldBytes());
}

void TextStream::Remember(std::string_view fresh) {
  tail_.append(fresh);
  // Rarely, so that the time stays linear.
  if (tail_.size() > 4 * kMaxTextTail) {
    tail_.erase(0, tail_.size() - kMaxTextTail);
  }
}

const TextStream::Stop* TextStream::Advance(char byte) {
  const Stop* complete = nullptr;
  for (Stop& stop : stops_) {
    size_t matched = stop.matched;
    while (matched > 0 && stop.text[matched] != byte) {
      matched = stop.borders[matched - 1];
    }
    if (stop.text[matched] == byte) ++matched;
    stop.matched = matched;
    const bool longest =
        complete == nullptr || stop.text.size() > complete->text.size();
    if (matched == stop.text.size() && longest) complete = &stop;
  }
  return complete;
}

void TextStream::PassOver() {
  for (Stop& stop : stops_) {
    if (stop.matched == stop.text.size()) {
      stop.matched = stop.borders[stop.matched - 1];
    }
  }
}

size_t TextStream::HeldBytes() const {
  size_t held = 0;
  for (const Stop& stop : stops_) held = std::max(held, stop.matched);
  return held;
}

std::string TextStream::TakeText(size_t size_bytes) {
  std::string text = text_.substr(sent_, size_bytes);
  sent_ += size_bytes;
  // Moving the rest only when it is the smaller part keeps the total linear.
  if (sent_ * 2 >= text_.size()) {
    text_.erase(0, sent_);
    sent_ = 0;
  }
  return text;
}

}  // namespace chela
