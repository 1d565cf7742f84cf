#ifndef CHELA_SERVER_ENGINE_PREFIX_TREE_NODE_H_
#define CHELA_SERVER_ENGINE_PREFIX_TREE_NODE_H_

#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <vector>

#include "server/engine/prefix_tree.h"

namespace chela {

// Of the tree's own files alone.
struct PrefixTree::Node {
  Node* parent = nullptr;
  std::vector<int32_t> edge;  // the tokens from the parent; empty for a root
  int64_t depth = 0;          // tokens from the root
  std::map<int32_t, Node*> children;  // by the first token of their edges
  bool has_state = false;             // in memory
  CachedState state;
  Nodes::iterator self;
  std::list<Node*>::iterator use;     // in ListOf(*this), if it has one
  int64_t pinned_bytes = 0;           // of the way to it; 0: not pinned
  const std::string* salt = nullptr;  // of a root

  uint64_t key = 0;  // of the stored state; 0: none
  int64_t stored_bytes = 0;
  std::list<Node*>::iterator stored_use;  // in stored_, if it has one

  bool holds_nothing() const { return !has_state && key == 0; }
};

// A node, its links in the lists and its entry among its parent's children, as
// the usual allocators lay them out.
inline constexpr int64_t kPrefixNodeBytes =
    static_cast<int64_t>(sizeof(PrefixTree::Node)) + 2 * 16 + 48 + 3 * 16;

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_PREFIX_TREE_NODE_H_
