#include "models/token_history.h"

#include <algorithm>

namespace chela {

void TokenHistory::AddPrompt(std::span<const int32_t> tokens) {
  if (window_ > 0 && tokens.size() > static_cast<size_t>(window_)) {
    tokens = tokens.last(static_cast<size_t>(window_));
  }
  for (const int32_t token : tokens) Add({token, false});
}

void TokenHistory::AddGenerated(int32_t token) { Add({token, true}); }

void TokenHistory::Add(Position position) {
  const auto token = static_cast<size_t>(position.token);
  if (token >= entry_of_.size()) {
    // Rarely: vocabularies are a few powers of two.
    entry_of_.resize(std::max(token + 1, 2 * entry_of_.size()), -1);
  }
  if (entry_of_[token] < 0) {
    entry_of_[token] = static_cast<int32_t>(entries_.size());
    entries_.push_back({position.token, 0, 0});
  }
  Entry& entry = entries_[static_cast<size_t>(entry_of_[token])];
  ++(position.generated ? entry.generated : entry.in_prompt);
  if (window_ == 0) return;
  recent_.push_back(position);
  if (recent_.size() > static_cast<size_t>(window_)) {
    const Position oldest = recent_.front();
    recent_.pop_front();
    Forget(oldest);
  }
}

void TokenHistory::Forget(Position position) {
  int32_t& index = entry_of_[static_cast<size_t>(position.token)];
  Entry& entry = entries_[static_cast<size_t>(index)];
  --(position.generated ? entry.generated : entry.in_prompt);
  if (entry.in_prompt > 0 || entry.generated > 0) return;
  entry_of_[static_cast<size_t>(entries_.back().token)] = index;
  entry = entries_.back();
  entries_.pop_back();
  index = -1;
}

}  // namespace chela
