#include "server/engine/prefix_tree.h"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <utility>

#include "server/engine/prefix_tree_node.h"

namespace chela {

namespace {

template <typename T>
int64_t TokenBytes(const T& tokens) {
  return static_cast<int64_t>(tokens.size() * sizeof(int32_t));
}

size_t CommonLength(std::span<const int32_t> a, std::span<const int32_t> b) {
  return static_cast<size_t>(
      std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

// Goes down from `root` as far as the tokens lead. `visit` sees every node
// that was reached whole. Returns the last node of the way, perhaps reached in
// part only, and how many tokens led there.
template <typename Node, typename Visit>
std::pair<Node*, int64_t> Walk(Node& root, std::span<const int32_t> tokens,
                               const Visit& visit) {
  Node* node = &root;
  size_t matched = 0;
  while (matched < tokens.size()) {
    const auto child = node->children.find(tokens[matched]);
    if (child == node->children.end()) break;
    node = child->second;
    const size_t common = CommonLength(node->edge, tokens.subspan(matched));
    matched += common;
    if (common < node->edge.size()) break;
    visit(*node);
  }
  return {node, static_cast<int64_t>(matched)};
}

}  // namespace

PrefixTree::PrefixTree(int64_t max_bytes) : max_bytes_(max_bytes) {}

PrefixTree::~PrefixTree() = default;

PrefixTree::Match PrefixTree::Find(std::string_view salt,
                                   std::span<const int32_t> tokens,
                                   int64_t limit) {
  const auto root = roots_.find(salt);
  if (root == roots_.end()) return {};
  const Way way = Follow(*root->second, tokens, limit);
  Use(way.last);
  for (Node* const node : {way.match.node, way.match.stored}) {
    if (node == nullptr) continue;
    if (node->has_state) {
      std::list<Node*>& states = ListOf(*node);
      states.splice(states.begin(), states, node->use);
    }
    if (node->key != 0) {
      stored_.splice(stored_.begin(), stored_, node->stored_use);
    }
  }
  return way.match;
}

PrefixTree::Match PrefixTree::Peek(std::string_view salt,
                                   std::span<const int32_t> tokens,
                                   int64_t limit) const {
  const auto root = roots_.find(salt);
  return root == roots_.end() ? Match()
                              : Follow(*root->second, tokens, limit).match;
}

PrefixTree::Way PrefixTree::Follow(Node& root, std::span<const int32_t> tokens,
                                   int64_t limit) {
  Match match;
  const auto [last, shared] = Walk(root, tokens, [&](Node& node) {
    if (node.depth > limit || node.holds_nothing()) return;
    (node.has_state ? match.node : match.stored) = &node;
  });
  match.shared = shared;
  if (match.node != nullptr) match.position = match.node->depth;
  if (match.stored != nullptr) match.stored_position = match.stored->depth;
  if (match.stored_position < match.position) {
    match.stored = nullptr;
    match.stored_position = 0;
  }
  return {match, last};
}

void PrefixTree::Insert(std::string_view salt,
                        std::span<const int32_t> tokens) {
  const int64_t most =
      std::min(static_cast<int64_t>(tokens.size()), LongestPath(salt));
  if (most <= 0) return;
  Use(Extend(*RootOf(salt), tokens.first(static_cast<size_t>(most))));
  Fit();
}

PrefixTree::Node* PrefixTree::StateAt(std::string_view salt,
                                      std::span<const int32_t> tokens) const {
  const auto root = roots_.find(salt);
  if (root == roots_.end()) return nullptr;
  const auto [last, matched] = Walk(*root->second, tokens, [](const Node&) {});
  const auto size = static_cast<int64_t>(tokens.size());
  const bool there = last->has_state && matched == size && last->depth == size;
  return there ? last : nullptr;
}

void PrefixTree::Put(std::string_view salt, std::span<const int32_t> tokens,
                     CachedState state) {
  assert(!tokens.empty());
  if (static_cast<int64_t>(tokens.size()) > LongestPath(salt)) {
    ++dropped_;
    return;
  }
  Node& node = NodeAt(salt, tokens);
  ClearState(node);
  SetState(node, std::move(state));
  Use(&node);
  Fit();
}

PrefixTree::Node& PrefixTree::NodeAt(std::string_view salt,
                                     std::span<const int32_t> tokens) {
  Node* const node = Extend(*RootOf(salt), tokens);
  const auto size = static_cast<int64_t>(tokens.size());
  if (node->depth == size) return *node;
  Split(*node, node->edge.size() - static_cast<size_t>(node->depth - size));
  return *node->parent;
}

// The tokens that a path may have so that it fits even alone.
int64_t PrefixTree::LongestPath(std::string_view salt) const {
  constexpr int64_t kNodesOfAPath = 4;
  const int64_t overhead =
      kNodesOfAPath * kPrefixNodeBytes + static_cast<int64_t>(salt.size());
  return (max_bytes_ - overhead) / static_cast<int64_t>(sizeof(int32_t));
}

PrefixTree::Node* PrefixTree::RootOf(std::string_view salt) {
  const auto found = roots_.find(salt);
  if (found != roots_.end()) return found->second;
  Node& root = AddNode(nodes_.begin(), nullptr, {});
  const auto entry = roots_.emplace(std::string(salt), &root).first;
  root.salt = &entry->first;
  bytes_ += static_cast<int64_t>(salt.size());
  return &root;
}

PrefixTree::Node& PrefixTree::AddNode(Nodes::const_iterator before,
                                      Node* parent,
                                      std::span<const int32_t> edge) {
  const Nodes::iterator made = nodes_.emplace(before);
  made->self = made;
  made->parent = parent;
  made->edge.assign(edge.begin(), edge.end());
  made->depth = static_cast<int64_t>(edge.size()) +
                (parent == nullptr ? 0 : parent->depth);
  if (parent != nullptr) parent->children[edge.front()] = &*made;
  bytes_ += kPrefixNodeBytes + TokenBytes(edge);
  return *made;
}

// The node in or at whose end the tokens end, which it makes if it must.
PrefixTree::Node* PrefixTree::Extend(Node& root,
                                     std::span<const int32_t> tokens) {
  auto [node, matched] = Walk(root, tokens, [](const Node&) {});
  const std::span<const int32_t> rest =
      tokens.subspan(static_cast<size_t>(matched));
  if (rest.empty()) return node;
  if (node->depth > matched) {
    Split(*node,
          node->edge.size() - static_cast<size_t>(node->depth - matched));
    node = node->parent;
  }
  return &AddNode(std::next(node->self), node, rest);
}

// The first edge_tokens of its edge lead to a new parent from now on.
void PrefixTree::Split(Node& node, size_t edge_tokens) {
  const std::span<const int32_t> edge = node.edge;
  Node& upper = AddNode(node.self, node.parent, edge.first(edge_tokens));
  upper.children[edge[edge_tokens]] = &node;
  node.parent = &upper;
  // Assigned, not erased from, to give the memory back.
  node.edge = std::vector<int32_t>(edge.begin() + edge_tokens, edge.end());
  bytes_ -= TokenBytes(upper.edge);
}

void PrefixTree::Use(Node* deepest) {
  for (Node* node = deepest; node != nullptr; node = node->parent) {
    nodes_.splice(nodes_.begin(), nodes_, node->self);
  }
}

void PrefixTree::Fit() {
  // Of the pinned leaves, since the last one that was removed: once all of them
  // were spared, no others are left.
  size_t spared = 0;
  while (bytes_ > max_bytes_ && !nodes_.empty() && spared <= pinned_.size()) {
    Node& leaf = nodes_.back();
    if (leaf.pinned_bytes > 0) {
      Use(&leaf);
      ++spared;
    } else {
      RemoveLeaf(leaf);
      spared = 0;
    }
  }
}

void PrefixTree::RemoveLeaf(Node& leaf) {
  assert(leaf.children.empty());
  ClearStored(leaf);
  ClearState(leaf);
  bytes_ -= kPrefixNodeBytes + TokenBytes(leaf.edge);
  Node* const parent = leaf.parent;
  if (parent != nullptr) {
    parent->children.erase(leaf.edge.front());
  } else {
    bytes_ -= static_cast<int64_t>(leaf.salt->size());
    roots_.erase(roots_.find(*leaf.salt));
  }
  nodes_.erase(leaf.self);
  if (parent != nullptr) MergeIfPlain(*parent);
}

// A node that neither holds a state nor parts texts becomes a piece of the edge
// below it.
void PrefixTree::MergeIfPlain(Node& node) {
  if (node.parent == nullptr || !node.holds_nothing() ||
      node.children.size() != 1) {
    return;
  }
  Node& below = *node.children.begin()->second;
  below.edge.insert(below.edge.begin(), node.edge.begin(), node.edge.end());
  below.edge.shrink_to_fit();
  below.parent = node.parent;
  node.parent->children[node.edge.front()] = &below;
  bytes_ -= kPrefixNodeBytes;
  nodes_.erase(node.self);
}

}  // namespace chela
