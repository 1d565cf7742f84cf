#ifndef CHELA_SERVER_ENGINE_PREFIX_TREE_H_
#define CHELA_SERVER_ENGINE_PREFIX_TREE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/state_pool.h"

namespace chela {

// The recurrent state after some tokens: in a slot of the pool or, if that is
// no claim, as its bytes on the host.
struct CachedState {
  StatePool::Slot slot;
  std::unique_ptr<std::byte[]> bytes;  // slot_bytes() of them
};

// Which prompts were seen and after which of their tokens a state is held: a
// radix tree (a trie whose edges hold runs of tokens) for each salt. Texts are
// compared token by token, never by a hash of them, and texts of different
// salts share nothing.
//
// Its own memory, the tokens above all, is bounded: beyond that the least
// recently used leaf is forgotten, with its state if it holds one. Using a node
// uses all nodes on the way to it, so the least recently used node of all is
// always a leaf. States have an order of use of their own.
//
// Find, Insert and Put take time linear in their tokens. Owned by one thread.
class PrefixTree {
 public:
  struct Node;  // one that holds a state; gone as soon as the tree drops it

  // max_bytes: of nodes, tokens and salts together, as estimated here; states
  // are not part of it.
  explicit PrefixTree(int64_t max_bytes);
  ~PrefixTree();
  PrefixTree(const PrefixTree&) = delete;
  PrefixTree& operator=(const PrefixTree&) = delete;

  struct Match {
    // So many of the tokens begin a text that was inserted before.
    int64_t shared = 0;
    // The deepest state on their way: it stands after so many tokens. 0
    // and null without one.
    int64_t position = 0;
    Node* node = nullptr;
  };
  // Looks only for states at or before `limit` tokens. The way and the state
  // count as used.
  Match Find(std::string_view salt, std::span<const int32_t> tokens,
             int64_t limit);

  // Remembers the tokens, or as many of the first ones as the bound allows.
  void Insert(std::string_view salt, std::span<const int32_t> tokens);

  // Whether a state stands after exactly these tokens. Uses nothing.
  bool Holds(std::string_view salt, std::span<const int32_t> tokens) const;

  // Holds `state` after exactly these tokens, at least one; replaces one that
  // stands there. Dropped at once if the bound does not allow so many.
  void Put(std::string_view salt, std::span<const int32_t> tokens,
           CachedState state);

  // The least recently used state: of all, of those in slots, of those on the
  // host; null if there is none. Linear in the number of states, but the first.
  Node* Oldest() const { return states_.empty() ? nullptr : states_.back(); }
  Node* OldestInSlot() const;
  Node* OldestOnHost() const;
  static const CachedState& StateOf(const Node& node);
  void Replace(Node& node, CachedState state);  // not a use
  void Drop(Node& node);                        // the state; its tokens stay

  int64_t bytes() const { return bytes_; }
  int32_t states_in_slots() const { return in_slots_; }
  int32_t states_on_host() const { return on_host_; }
  // Of states that were dropped, by whomever, since the start.
  int64_t dropped_states() const { return dropped_; }

 private:
  using Nodes = std::list<Node>;

  Node* RootOf(std::string_view salt);  // made if there is none
  Node* Extend(Node& root, std::span<const int32_t> tokens);
  Node& AddNode(Nodes::const_iterator before, Node* parent,
                std::span<const int32_t> edge);
  void Split(Node& node, size_t edge_tokens);
  void Use(Node* deepest);
  void SetState(Node& node, CachedState state);
  void ClearState(Node& node);
  void RemoveLeaf(Node& leaf);
  void MergeIfPlain(Node& node);
  void Fit();
  int64_t LongestPath(std::string_view salt) const;
  Node* OldestOf(bool in_slot) const;

  const int64_t max_bytes_;
  int64_t bytes_ = 0;
  int32_t in_slots_ = 0;
  int32_t on_host_ = 0;
  int64_t dropped_ = 0;
  // Owns the nodes, whose destructors so never recurse; the most recently used
  // first, each before all nodes below it.
  Nodes nodes_;
  std::list<Node*> states_;  // the most recently used first
  std::map<std::string, Node*, std::less<>> roots_;
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_PREFIX_TREE_H_
