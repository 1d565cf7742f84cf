// The prefix cache and its store: what goes there, what comes back.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "kernels/status_macros.h"
#include "server/engine/prefix_cache.h"

namespace chela {
namespace {

// Of states that were read for prompts which still wait.
constexpr int64_t kLoadedBytes = int64_t{256} << 20;

// After a prompt has waited in vain.
constexpr std::chrono::seconds kLoadPause(30);

}  // namespace

void PrefixCache::TakeFound() {
  for (PrefixStore::Found& found : store_->TakeFound()) {
    next_key_ = std::max(next_key_, found.key + 1);
    if (!tree_.PutStored(found.salt, found.tokens, found.key, found.bytes)) {
      store_->Remove(found.key);
    }
  }
  MakeStoreRoom(0);
  Publish();
}

void PrefixCache::RemoveDropped() {
  for (const uint64_t key : tree_.TakeDroppedKeys()) store_->Remove(key);
}

absl::Status PrefixCache::GiveUp(PrefixTree::Node& node) {
  if (store_ != nullptr) CHELA_RETURN_IF_ERROR(Store(node, next_key_++));
  tree_.Drop(node);
  return absl::OkStatus();
}

void PrefixCache::GiveUpOldestOnHost() {
  // No device takes part.
  GiveUp(*tree_.OldestOnHost()).IgnoreError();
}

// Begins to write the state in memory, if the store has not got it and takes
// it.
absl::Status PrefixCache::Store(PrefixTree::Node& node, uint64_t key) {
  if (PrefixTree::KeyOf(node) != 0 || !store_->Accepts()) {
    return absl::OkStatus();
  }
  std::vector<int32_t> tokens = PrefixTree::TokensOf(node);
  const std::string salt(PrefixTree::SaltOf(node));
  const int64_t most = store_->MaxBytes(salt, tokens.size());
  if (!MakeStoreRoom(most)) return absl::OkStatus();
  const CachedState& state = PrefixTree::StateOf(node);
  StateBytes bytes = state.bytes;
  if (state.slot.valid()) {
    absl::StatusOr<StateBytes> copy = HostCopy(state.slot);
    CHELA_RETURN_IF_ERROR(copy.status());
    if (*copy == nullptr) return absl::OkStatus();
    bytes = *std::move(copy);
  }
  store_->Write(key, salt, std::move(tokens), std::move(bytes));
  tree_.SetStored(node, key, most);
  return absl::OkStatus();
}

// Removes stored states, those used longest ago, until `bytes` more fit.
bool PrefixCache::MakeStoreRoom(int64_t bytes) {
  if (bytes > max_stored_bytes_) return false;
  while (tree_.stored_bytes() + bytes > max_stored_bytes_) {
    tree_.DropStored(*tree_.OldestStored());
  }
  RemoveDropped();
  return true;
}

std::shared_ptr<PrefixCache::Loading> PrefixCache::Load(
    const PrefixTree::Node& node) {
  const uint64_t key = PrefixTree::KeyOf(node);
  std::erase_if(loading_,
                [](const auto& entry) { return entry.second.expired(); });
  if (const auto found = loading_.find(key); found != loading_.end()) {
    return found->second.lock();
  }
  const auto now = static_cast<int64_t>(loading_.size());
  if (now > 0 && (now + 1) * pool_.slot_bytes() > kLoadedBytes) return nullptr;
  auto loading = std::make_shared<Loading>();
  loading_[key] = loading;
  store_->Read(key);
  return loading;
}

void PrefixCache::PauseLoading(Clock::time_point now) {
  loads_again_at_ = now + kLoadPause;
}

void PrefixCache::TakeEvents() {
  EndPins(Clock::now());
  if (store_ == nullptr) return;
  std::vector<PrefixStore::Event> events = store_->TakeEvents();
  for (PrefixStore::Event& event : events) {
    PrefixTree::Node* const node = tree_.FindStored(event.key);
    switch (event.kind) {
      case PrefixStore::EventKind::kWritten:
        if (node != nullptr) tree_.SetStored(*node, event.key, event.bytes);
        break;
      case PrefixStore::EventKind::kLost:
        if (node != nullptr) tree_.DropStored(*node);
        TakeRead(event.key, nullptr);
        break;
      case PrefixStore::EventKind::kRead:
        TakeRead(event.key, event.state);
        break;
    }
  }
  if (!events.empty()) Publish();
}

// For those who wait for it, and for the host, where it is the latest used.
void PrefixCache::TakeRead(uint64_t key, const StateBytes& state) {
  if (const auto found = loading_.find(key); found != loading_.end()) {
    if (const auto loading = found->second.lock(); loading != nullptr) {
      loading->state = state;
      loading->done = true;
    }
  }
  const PrefixTree::Node* const wanted = tree_.FindStored(key);
  if (state == nullptr || wanted == nullptr || PrefixTree::HasState(*wanted) ||
      !MakeRoom(nullptr)) {
    return;
  }
  // Making room may have dropped it.
  PrefixTree::Node* const node = tree_.FindStored(key);
  if (node != nullptr) tree_.Load(*node, {.slot = {}, .bytes = state});
}

void PrefixCache::Flush(Clock::time_point deadline) {
  if (store_ == nullptr) return;
  // None of them goes while it is in memory.
  std::vector<PrefixTree::Node*> states(tree_.pinned().begin(),
                                        tree_.pinned().end());
  states.insert(states.end(), tree_.states().begin(), tree_.states().end());
  // A later process takes them for the latest used in the order of their keys.
  uint64_t key = next_key_ + states.size();
  int64_t bytes = 0;
  for (PrefixTree::Node* const node : states) {
    bytes += store_->MaxBytes(PrefixTree::SaltOf(*node),
                              static_cast<size_t>(PrefixTree::DepthOf(*node)));
    // More would take the place of these.
    if (bytes > max_stored_bytes_ || Clock::now() > deadline) break;
    if (!store_->Accepts() &&
        !(store_->WaitIdle(deadline) && store_->Accepts())) {
      break;
    }
    if (!Store(*node, --key).ok()) break;
  }
  store_->WaitIdle(deadline);
}

}  // namespace chela
