// What the tree does with states, wherever they are.
#include <algorithm>
#include <cassert>
#include <utility>

#include "server/engine/prefix_tree.h"
#include "server/engine/prefix_tree_node.h"

namespace chela {

std::list<PrefixTree::Node*>& PrefixTree::ListOf(const Node& node) {
  return node.pinned_bytes > 0 ? pinned_ : states_;
}

bool PrefixTree::Pin(Node& node) {
  assert(node.has_state && node.pinned_bytes == 0);
  int64_t bytes = static_cast<int64_t>(SaltOf(node).size()) +
                  node.depth * static_cast<int64_t>(sizeof(int32_t));
  for (const Node* at = &node; at != nullptr; at = at->parent) {
    bytes += kPrefixNodeBytes;
  }
  if (pinned_bytes_ + bytes > max_bytes_ / 2) return false;
  pinned_.splice(pinned_.begin(), states_, node.use);
  pinned_bytes_ += bytes;
  node.pinned_bytes = bytes;
  return true;
}

void PrefixTree::Unpin(Node& node) {
  states_.splice(states_.begin(), pinned_, node.use);
  pinned_bytes_ -= std::exchange(node.pinned_bytes, 0);
}

void PrefixTree::SetState(Node& node, CachedState state) {
  node.has_state = true;
  ++(state.slot.valid() ? in_slots_ : on_host_);
  node.state = std::move(state);
  node.use = states_.insert(states_.begin(), &node);
}

void PrefixTree::ClearState(Node& node) {
  if (!node.has_state) return;
  assert(node.pinned_bytes == 0);
  --(node.state.slot.valid() ? in_slots_ : on_host_);
  if (node.key == 0) ++dropped_;
  node.has_state = false;
  // Not by assignment, which would swap the slots and keep the claim alive.
  const CachedState gone = std::move(node.state);
  states_.erase(node.use);
}

void PrefixTree::Replace(Node& node, CachedState state) {
  --(node.state.slot.valid() ? in_slots_ : on_host_);
  ++(state.slot.valid() ? in_slots_ : on_host_);
  std::swap(node.state, state);
}

void PrefixTree::Load(Node& node, CachedState state) {
  ClearState(node);
  SetState(node, std::move(state));
}

void PrefixTree::Drop(Node& node) {
  ClearState(node);
  MergeIfPlain(node);
}

PrefixTree::Node* PrefixTree::OldestOf(bool in_slot) const {
  const auto found = std::find_if(
      states_.rbegin(), states_.rend(),
      [&](const Node* node) { return node->state.slot.valid() == in_slot; });
  return found == states_.rend() ? nullptr : *found;
}

PrefixTree::Node* PrefixTree::OldestInSlot() const { return OldestOf(true); }
PrefixTree::Node* PrefixTree::OldestOnHost() const { return OldestOf(false); }

bool PrefixTree::HasState(const Node& node) { return node.has_state; }
const CachedState& PrefixTree::StateOf(const Node& node) { return node.state; }

void PrefixTree::SetStored(Node& node, uint64_t key, int64_t bytes) {
  assert(key != 0);
  if (node.key == key) {
    stored_bytes_ += bytes - std::exchange(node.stored_bytes, bytes);
    return;
  }
  ClearStored(node);
  node.key = key;
  node.stored_bytes = bytes;
  node.stored_use = stored_.insert(stored_.begin(), &node);
  by_key_[key] = &node;
  stored_bytes_ += bytes;
}

bool PrefixTree::PutStored(std::string_view salt,
                           std::span<const int32_t> tokens, uint64_t key,
                           int64_t bytes) {
  if (tokens.empty() ||
      static_cast<int64_t>(tokens.size()) > LongestPath(salt)) {
    return false;
  }
  Node& node = NodeAt(salt, tokens);
  const bool free = node.key == 0;
  if (free) SetStored(node, key, bytes);
  Use(&node);
  Fit();
  return free;
}

uint64_t PrefixTree::KeyOf(const Node& node) { return node.key; }

PrefixTree::Node* PrefixTree::FindStored(uint64_t key) const {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : found->second;
}

void PrefixTree::ClearStored(Node& node) {
  if (node.key == 0) return;
  if (!node.has_state) ++dropped_;
  stored_bytes_ -= std::exchange(node.stored_bytes, 0);
  stored_.erase(node.stored_use);
  by_key_.erase(node.key);
  dropped_keys_.push_back(std::exchange(node.key, 0));
}

void PrefixTree::DropStored(Node& node) {
  ClearStored(node);
  MergeIfPlain(node);
}

std::vector<uint64_t> PrefixTree::TakeDroppedKeys() {
  return std::exchange(dropped_keys_, {});
}

std::vector<int32_t> PrefixTree::TokensOf(const Node& node) {
  std::vector<int32_t> tokens(static_cast<size_t>(node.depth));
  for (const Node* at = &node; at->parent != nullptr; at = at->parent) {
    std::copy(at->edge.begin(), at->edge.end(),
              tokens.begin() + at->parent->depth);
  }
  return tokens;
}

int64_t PrefixTree::DepthOf(const Node& node) { return node.depth; }

std::string_view PrefixTree::SaltOf(const Node& node) {
  const Node* root = &node;
  while (root->parent != nullptr) root = root->parent;
  return *root->salt;
}

}  // namespace chela
