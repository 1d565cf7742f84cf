#include "models/token_history.h"

#include <algorithm>
#include <utility>

namespace chela {

void TokenHistory::AddEarlier(const SamplerState& earlier, bool as_prompt) {
  if (window_ > 0) {
    const size_t size =
        std::min(earlier.recent.size(), static_cast<size_t>(window_));
    for (const auto& recent : std::span(earlier.recent).last(size)) {
      Add({recent.token, recent.generated && !as_prompt});
    }
    return;
  }
  for (const SamplerState::Count& count : earlier.counts) {
    Entry& entry = EntryOf(count.token);
    entry.in_prompt = count.in_prompt;
    entry.generated = count.generated;
    if (as_prompt) {
      entry.in_prompt += std::exchange(entry.generated, 0);
    }
  }
}

void TokenHistory::AddPrompt(std::span<const int32_t> tokens) {
  if (window_ > 0 && tokens.size() > static_cast<size_t>(window_)) {
    tokens = tokens.last(static_cast<size_t>(window_));
  }
  for (const int32_t token : tokens) Add({token, false});
}

void TokenHistory::AddGenerated(int32_t token) { Add({token, true}); }

TokenHistory::Entry& TokenHistory::EntryOf(int32_t id) {
  const auto token = static_cast<size_t>(id);
  if (token >= entry_of_.size()) {
    // Rarely: vocabularies are a few powers of two.
    entry_of_.resize(std::max(token + 1, 2 * entry_of_.size()), -1);
  }
  if (entry_of_[token] < 0) {
    entry_of_[token] = static_cast<int32_t>(entries_.size());
    entries_.push_back({id, 0, 0});
  }
  return entries_[static_cast<size_t>(entry_of_[token])];
}

void TokenHistory::Add(Position position) {
  Entry& entry = EntryOf(position.token);
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
