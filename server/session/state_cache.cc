#include "server/session/state_cache.h"

#include "server/session/snapshot_header.h"

namespace chela {

int64_t HostBytes(const SequenceState& state) {
  const SamplerState& sampler = state.sampler;
  return static_cast<int64_t>(
      sizeof(SequenceState) + state.state.size() +
      state.logits.size() * sizeof(float) +
      sampler.counts.size() * sizeof(SamplerState::Count) +
      sampler.recent.size() * sizeof(SamplerState::Recent) +
      state.text.cut.size() + state.text.tail.size());
}

int64_t MaxHostBytes(const SnapshotModel& model) {
  const auto vocab = static_cast<size_t>(model.vocab);
  return static_cast<int64_t>(
      sizeof(SequenceState) + static_cast<size_t>(model.state_bytes) +
      vocab * (sizeof(float) + sizeof(SamplerState::Count)) +
      kMaxRecentTokens * sizeof(SamplerState::Recent) + kMaxCutBytes +
      kMaxTextTail);
}

void StateCache::Put(const Key& key, SequenceStatePtr state) {
  Erase(key);
  if (++holders_[state.get()] == 1) bytes_ += HostBytes(*state);
  by_use_.push_back(key);
  entries_[key] = {std::move(state), std::prev(by_use_.end())};
}

SequenceStatePtr StateCache::Get(const Key& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return nullptr;
  by_use_.splice(by_use_.end(), by_use_, found->second.place);
  return found->second.state;
}

void StateCache::Erase(const Key& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  const auto holders = holders_.find(found->second.state.get());
  if (--holders->second == 0) {
    bytes_ -= HostBytes(*found->second.state);
    holders_.erase(holders);
  }
  by_use_.erase(found->second.place);
  entries_.erase(found);
}

std::vector<StateCache::Key> StateCache::Shrink(int64_t bytes) {
  std::vector<Key> dropped;
  while (bytes_ > bytes && !by_use_.empty()) {
    dropped.push_back(by_use_.front());
    Erase(dropped.back());
  }
  return dropped;
}

}  // namespace chela
