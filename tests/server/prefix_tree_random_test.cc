#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>

#include "server/engine/prefix_tree.h"
#include "tests/server/engine_rig.h"
#include "tests/server/prefix_tree_rig.h"

namespace chela {
namespace {

using test_support::kAmple;
using test_support::kNoLimit;
using test_support::Marked;
using test_support::MarkOf;
using test_support::Tokens;

// The same by its definition: texts and states, whole, in ordinary maps.
class NaiveTree {
 public:
  void Insert(const std::string& salt, const Tokens& tokens) {
    texts_[salt].insert(tokens);
  }
  void Put(const std::string& salt, const Tokens& tokens, int32_t mark) {
    Insert(salt, tokens);
    states_[{salt, tokens}] = mark;
  }
  void Drop(int32_t mark) {
    std::erase_if(states_, [mark](const auto& s) { return s.second == mark; });
  }
  int64_t Shared(const std::string& salt, const Tokens& tokens) const {
    int64_t most = 0;
    const auto texts = texts_.find(salt);
    if (texts == texts_.end()) return 0;
    for (const Tokens& text : texts->second) {
      int64_t same = 0;
      while (same < std::ssize(text) && same < std::ssize(tokens) &&
             text[same] == tokens[same]) {
        ++same;
      }
      most = std::max(most, same);
    }
    return most;
  }
  // Position and mark of the deepest one.
  std::pair<int64_t, int32_t> State(const std::string& salt,
                                    const Tokens& tokens, int64_t limit) const {
    for (int64_t size = std::min(std::ssize(tokens), limit); size > 0; --size) {
      const auto found =
          states_.find({salt, Tokens(tokens.begin(), tokens.begin() + size)});
      if (found != states_.end()) return {size, found->second};
    }
    return {0, 0};
  }
  size_t states() const { return states_.size(); }

 private:
  std::map<std::string, std::set<Tokens>> texts_;
  std::map<std::pair<std::string, Tokens>, int32_t> states_;
};

// Short texts of two tokens, so that they share and part everywhere.
class RandomTexts {
 public:
  explicit RandomTexts(uint32_t seed) : random_(seed) {}
  int32_t Number(int32_t below) {
    return static_cast<int32_t>(random_() % static_cast<uint32_t>(below));
  }
  Tokens Text() {
    Tokens tokens(1 + Number(12));
    for (int32_t& token : tokens) token = Number(8) == 0 ? 1 : 0;
    return tokens;
  }
  std::string Salt() { return Number(3) == 0 ? "salt" : ""; }

 private:
  std::mt19937 random_;
};

TEST(PrefixTreeTest, AgreesWithOrdinaryMapsOnRandomTexts) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    RandomTexts random(seed);
    PrefixTree tree(kAmple);
    NaiveTree naive;
    for (int32_t step = 1; step < 400; ++step) {
      SCOPED_TRACE(::testing::Message() << "seed " << seed << " step " << step);
      const std::string salt = random.Salt();
      const Tokens tokens = random.Text();
      switch (random.Number(5)) {
        case 0:
          tree.Insert(salt, tokens);
          naive.Insert(salt, tokens);
          break;
        case 1:
          tree.Put(salt, tokens, Marked(step));
          naive.Put(salt, tokens, step);
          break;
        case 2:
          if (PrefixTree::Node* oldest = tree.OldestOnHost()) {
            naive.Drop(MarkOf(*oldest));
            tree.Drop(*oldest);
          }
          break;
        default: {
          const int64_t limit = random.Number(14);
          const PrefixTree::Match match = tree.Find(salt, tokens, limit);
          ASSERT_EQ(match.shared, naive.Shared(salt, tokens));
          const auto [position, mark] = naive.State(salt, tokens, limit);
          ASSERT_EQ(match.position, position);
          if (position > 0) {
            ASSERT_EQ(MarkOf(*match.node), mark);
          }
          ASSERT_EQ(
              tree.StateAt(salt, tokens) != nullptr,
              naive.State(salt, tokens, kNoLimit).first == std::ssize(tokens));
        }
      }
      ASSERT_EQ(static_cast<size_t>(tree.states_on_host()), naive.states());
    }
  }
}

TEST(PrefixTreeTest, NeverInventsAnythingWhileItForgets) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    RandomTexts random(seed);
    PrefixTree tree(3000);  // some ten nodes
    NaiveTree naive;
    int64_t hits = 0;
    for (int32_t step = 1; step < 1000; ++step) {
      const std::string salt = random.Salt();
      const Tokens tokens = random.Text();
      switch (random.Number(3)) {
        case 0:
          tree.Insert(salt, tokens);
          naive.Insert(salt, tokens);
          break;
        case 1:
          tree.Put(salt, tokens, Marked(step));
          naive.Put(salt, tokens, step);
          break;
        default: {
          const PrefixTree::Match match = tree.Find(salt, tokens, kNoLimit);
          ASSERT_LE(match.shared, naive.Shared(salt, tokens));
          ASSERT_LE(match.position, match.shared);
          if (match.node == nullptr) break;
          ++hits;
          const Tokens to(tokens.begin(), tokens.begin() + match.position);
          // The latest one that was put there.
          ASSERT_EQ(MarkOf(*match.node),
                    naive.State(salt, to, kNoLimit).second);
        }
      }
      ASSERT_LE(tree.bytes(), 3000);
      ASSERT_GE(tree.bytes(), 0);
    }
    EXPECT_GT(hits, 20);
    EXPECT_GT(tree.dropped_states(), 20);
    // Whatever was forgotten was taken off the account.
    const int64_t full = tree.bytes();
    tree.Insert("last", Tokens(10000, 5));
    EXPECT_GE(tree.bytes() + 2000, full);
    EXPECT_EQ(tree.states_on_host(), 0);
  }
}

}  // namespace
}  // namespace chela
