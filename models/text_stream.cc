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

TextStream::TextStream(std::vector<std::string> stops, bool include_stop)
    : include_stop_(include_stop) {
  for (std::string& stop : stops) {
    if (stop.empty() || ToValidUtf8(stop) != stop) continue;
    std::vector<size_t> borders = BordersOf(stop);
    stops_.push_back({std::move(stop), std::move(borders), 0});
  }
}

TextStream::Output TextStream::Push(std::string_view bytes, bool may_stop) {
  cut_.append(bytes);
  const size_t complete = CompleteUtf8Prefix(cut_);
  const std::string fresh =
      ToValidUtf8(std::string_view(cut_).substr(0, complete));
  cut_.erase(0, complete);
  for (const char byte : fresh) {
    text_.push_back(byte);
    const Stop* stop = Advance(byte);
    if (stop == nullptr) continue;
    if (!may_stop) {
      PassOver();
      continue;
    }
    const size_t dropped = include_stop_ ? 0 : stop->text.size();
    Output output{TakeText(text_.size() - sent_ - dropped), stop->text};
    cut_.clear();
    text_.clear();
    sent_ = 0;
    return output;
  }
  // Cuts no character: what is held back is a prefix of a stop, and starts
  // like it with the first byte of a character.
  return {TakeText(text_.size() - sent_ - HeldBytes()), std::nullopt};
}

std::string TextStream::Finish() {
  truncated_bytes_ += cut_.size();
  cut_.clear();
  for (Stop& stop : stops_) stop.matched = 0;
  return TakeText(text_.size() - sent_);
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
