// The prefix cache's states that are kept for a time, whatever is used.
#include <algorithm>

#include "kernels/status_macros.h"
#include "server/engine/prefix_cache.h"

namespace chela {

int64_t PrefixCache::pinned_bytes() const {
  return static_cast<int64_t>(pins_.size()) * pool_.slot_bytes();
}

absl::StatusOr<bool> PrefixCache::Pin(std::string_view salt,
                                      std::span<const int32_t> tokens,
                                      Clock::time_point until) {
  PrefixTree::Node* const node = tree_.StateAt(salt, tokens);
  if (node == nullptr) return false;
  const auto found = pins_.find(node);
  if (found == pins_.end()) {
    if (pinned_bytes() + pool_.slot_bytes() > max_pinned_bytes_) return false;
    // On the host, so that slots stay free for whoever wants them.
    bool on_host = !PrefixTree::StateOf(*node).slot.valid();
    if (!on_host) CHELA_RETURN_IF_ERROR(MoveToHost(*node, on_host));
    if (!on_host || !tree_.Pin(*node)) return false;
    pins_[node] = until;
  } else {
    found->second = std::max(found->second, until);
  }
  FindNextPinEnd();
  Publish();
  return true;
}

void PrefixCache::Unpin(std::string_view salt,
                        std::span<const int32_t> tokens) {
  PrefixTree::Node* const node = tree_.StateAt(salt, tokens);
  if (node == nullptr || pins_.erase(node) == 0) return;
  tree_.Unpin(*node);
  FindNextPinEnd();
  Publish();
}

void PrefixCache::EndPins(Clock::time_point now) {
  if (!next_pin_end_.has_value() || now < *next_pin_end_) return;
  std::erase_if(pins_, [&](const auto& pin) {
    if (pin.second > now) return false;
    tree_.Unpin(*pin.first);
    return true;
  });
  FindNextPinEnd();
  Publish();
}

void PrefixCache::FindNextPinEnd() {
  next_pin_end_.reset();
  for (const auto& [node, end] : pins_) {
    next_pin_end_ = std::min(next_pin_end_.value_or(end), end);
  }
}

}  // namespace chela
