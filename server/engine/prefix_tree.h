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
#include <unordered_map>
#include <vector>

#include "models/state_pool.h"
#include "server/engine/prefix_store.h"

namespace chela {

// The recurrent state after some tokens, in memory: in a slot of the pool or,
// if that is no claim, on the host.
struct CachedState {
  StatePool::Slot slot;
  StateBytes bytes;  // slot_bytes() of them
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
// A state may also be stored outside (prefix_store.h), beside the one in memory
// or instead of it; the tree knows its key.
//
// Find, Peek, Insert and Put take time linear in their tokens. Owned by one
// thread.
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
    // The deepest state in memory on their way: it stands after so many
    // tokens. 0 and null without one.
    int64_t position = 0;
    Node* node = nullptr;
    // The same for a state that is only stored, if there is a deeper one.
    int64_t stored_position = 0;
    Node* stored = nullptr;
  };
  // Looks only for states at or before `limit` tokens. The way and the states
  // count as used.
  Match Find(std::string_view salt, std::span<const int32_t> tokens,
             int64_t limit);
  // The same, but uses nothing.
  Match Peek(std::string_view salt, std::span<const int32_t> tokens,
             int64_t limit) const;

  // Remembers the tokens, or as many of the first ones as the bound allows.
  void Insert(std::string_view salt, std::span<const int32_t> tokens);

  // The node whose state in memory stands after exactly these tokens; null if
  // there is none. Uses nothing.
  Node* StateAt(std::string_view salt, std::span<const int32_t> tokens) const;

  // Holds `state` after exactly these tokens, at least one; replaces one that
  // stands there. Dropped at once if the bound does not allow so many.
  void Put(std::string_view salt, std::span<const int32_t> tokens,
           CachedState state);

  // The least recently used state that is not pinned: of all, of those in
  // slots, of those on the host; null if there is none. Linear in the number of
  // states, but the first.
  Node* Oldest() const { return states_.empty() ? nullptr : states_.back(); }
  Node* OldestInSlot() const;
  Node* OldestOnHost() const;
  static bool HasState(const Node& node);  // in memory
  static const CachedState& StateOf(const Node& node);
  void Replace(Node& node, CachedState state);  // not a use
  // Puts a state into memory beside the one that is stored; a use.
  void Load(Node& node, CachedState state);
  void Drop(Node& node);  // the state in memory; its tokens stay
  // The states in memory that are not pinned, and those that are: the most
  // recently used first.
  const std::list<Node*>& states() const { return states_; }
  const std::list<Node*>& pinned() const { return pinned_; }

  // Keeps a state in memory, and the tokens that lead to it, whatever else is
  // used; its owner may not Drop it meanwhile. False, and nothing, if the
  // tokens of all that is pinned would take more than half of the bound.
  bool Pin(Node& node);
  void Unpin(Node& node);  // a use of its state

  // The node's state is stored under `key`, not 0, and takes so many bytes.
  void SetStored(Node& node, uint64_t key, int64_t bytes);
  // A state that is only stored, after exactly these tokens. False, and
  // nothing, if the bound does not allow so many or one is stored there.
  bool PutStored(std::string_view salt, std::span<const int32_t> tokens,
                 uint64_t key, int64_t bytes);
  static uint64_t KeyOf(const Node& node);  // 0: not stored
  Node* FindStored(uint64_t key) const;     // null: no node has it any more
  Node* OldestStored() const {
    return stored_.empty() ? nullptr : stored_.back();
  }
  void DropStored(Node& node);  // the key; a state in memory stays
  // The keys that were dropped, by whomever, since the last call.
  std::vector<uint64_t> TakeDroppedKeys();

  // What leads to a node, and how many tokens.
  static std::vector<int32_t> TokensOf(const Node& node);
  static std::string_view SaltOf(const Node& node);
  static int64_t DepthOf(const Node& node);

  int64_t bytes() const { return bytes_; }
  int32_t states_in_slots() const { return in_slots_; }
  int32_t states_on_host() const { return on_host_; }
  int64_t stored_bytes() const { return stored_bytes_; }
  // Of states that were dropped, by whomever, since the start, and are stored
  // nowhere.
  int64_t dropped_states() const { return dropped_; }

 private:
  using Nodes = std::list<Node>;
  // Where tokens lead: the last node of it may be reached in part only.
  struct Way {
    Match match;
    Node* last = nullptr;
  };

  static Way Follow(Node& root, std::span<const int32_t> tokens, int64_t limit);
  Node* RootOf(std::string_view salt);  // made if there is none
  Node* Extend(Node& root, std::span<const int32_t> tokens);
  // The node that ends right after the tokens, which it makes if it must.
  Node& NodeAt(std::string_view salt, std::span<const int32_t> tokens);
  Node& AddNode(Nodes::const_iterator before, Node* parent,
                std::span<const int32_t> edge);
  void Split(Node& node, size_t edge_tokens);
  void Use(Node* deepest);
  std::list<Node*>& ListOf(const Node& node);  // that its state stands in
  void SetState(Node& node, CachedState state);
  void ClearState(Node& node);
  void ClearStored(Node& node);
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
  // Those in memory, those of them that are pinned instead, and those that are
  // stored: the most recently used first.
  std::list<Node*> states_;
  std::list<Node*> pinned_;
  int64_t pinned_bytes_ = 0;  // of the ways to them
  std::list<Node*> stored_;
  std::unordered_map<uint64_t, Node*> by_key_;
  std::vector<uint64_t> dropped_keys_;
  int64_t stored_bytes_ = 0;
  std::map<std::string, Node*, std::less<>> roots_;
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_PREFIX_TREE_H_
