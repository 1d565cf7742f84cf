#include "server/engine/prefix_tree.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>

#include "tests/server/engine_rig.h"
#include "tests/server/prefix_tree_rig.h"

namespace chela {
namespace {

using test_support::Count;
using test_support::kAmple;
using test_support::kNoLimit;
using test_support::Marked;
using test_support::MarkOf;
using test_support::Rig;
using test_support::Tokens;

TEST(PrefixTreeTest, KnowsNothingAtFirst) {
  PrefixTree tree(kAmple);
  const PrefixTree::Match match = tree.Find("", Count(0, 5), kNoLimit);
  EXPECT_EQ(match.shared, 0);
  EXPECT_EQ(match.position, 0);
  EXPECT_EQ(match.node, nullptr);
  EXPECT_EQ(tree.bytes(), 0);
  EXPECT_EQ(tree.OldestOnHost(), nullptr);
  EXPECT_EQ(tree.OldestInSlot(), nullptr);
}

TEST(PrefixTreeTest, CountsTheTokensThatAnEarlierTextBeganWithToTheToken) {
  PrefixTree tree(kAmple);
  tree.Insert("", Count(0, 100));
  for (const int32_t shared : {1, 2, 50, 99, 100}) {
    Tokens tokens = Count(0, shared);
    EXPECT_EQ(tree.Find("", tokens, kNoLimit).shared, shared);
    tokens.push_back(500);
    EXPECT_EQ(tree.Find("", tokens, kNoLimit).shared, shared);
  }
  EXPECT_EQ(tree.Find("", Count(1, 4), kNoLimit).shared, 0);
}

TEST(PrefixTreeTest, FindsTheDeepestStateUpToTheLimit) {
  PrefixTree tree(kAmple);
  // Within one edge: each Put splits it.
  for (const int32_t size : {30, 10, 20}) {
    tree.Put("", Count(0, size), Marked(size));
  }
  for (const auto& [limit, want] : std::map<int64_t, int64_t>{{9, 0},
                                                              {10, 10},
                                                              {19, 10},
                                                              {20, 20},
                                                              {29, 20},
                                                              {30, 30},
                                                              {40, 30}}) {
    const PrefixTree::Match match = tree.Find("", Count(0, 40), limit);
    EXPECT_EQ(match.position, want) << limit;
    EXPECT_EQ(match.shared, 30);
    if (want > 0) {
      EXPECT_EQ(MarkOf(*match.node), want);
    }
  }
  EXPECT_EQ(tree.Find("", Count(0, 15), kNoLimit).position, 10);
  EXPECT_EQ(tree.states_on_host(), 3);
}

TEST(PrefixTreeTest, HoldsAStateAfterExactlyItsTokens) {
  PrefixTree tree(kAmple);
  tree.Put("", Count(0, 20), Marked(1));
  EXPECT_NE(tree.StateAt("", Count(0, 20)), nullptr);
  EXPECT_EQ(tree.StateAt("", Count(0, 19)), nullptr);
  EXPECT_EQ(tree.StateAt("", Count(0, 21)), nullptr);
  EXPECT_EQ(tree.StateAt("", Count(1, 20)), nullptr);
  EXPECT_EQ(tree.StateAt("other", Count(0, 20)), nullptr);
}

TEST(PrefixTreeTest, NeverSharesBetweenSalts) {
  PrefixTree tree(kAmple);
  tree.Put("a", Count(0, 20), Marked(1));
  for (const char* salt : {"", "b", "aa"}) {
    EXPECT_EQ(tree.Find(salt, Count(0, 20), kNoLimit).shared, 0);
  }
  tree.Put("b", Count(0, 20), Marked(2));
  EXPECT_EQ(MarkOf(*tree.Find("a", Count(0, 20), kNoLimit).node), 1);
  EXPECT_EQ(MarkOf(*tree.Find("b", Count(0, 20), kNoLimit).node), 2);
}

TEST(PrefixTreeTest, NamesTheStateThatWasUsedLongestAgo) {
  PrefixTree tree(kAmple);
  tree.Put("", Tokens{1, 2}, Marked(12));
  tree.Put("", Tokens{1, 3}, Marked(13));
  tree.Put("", Tokens{1}, Marked(1));
  EXPECT_EQ(MarkOf(*tree.OldestOnHost()), 12);
  // A way through a state does not use it, nor does looking whether it is held.
  EXPECT_NE(tree.StateAt("", Tokens{1, 2}), nullptr);
  tree.Find("", Tokens{1, 2, 5}, kNoLimit);
  EXPECT_EQ(MarkOf(*tree.OldestOnHost()), 13);
  tree.Find("", Tokens{1, 3, 5}, kNoLimit);
  EXPECT_EQ(MarkOf(*tree.OldestOnHost()), 1);
  tree.Drop(*tree.OldestOnHost());
  EXPECT_EQ(MarkOf(*tree.OldestOnHost()), 12);
  EXPECT_EQ(tree.dropped_states(), 1);
  EXPECT_EQ(tree.Find("", Tokens{1, 9}, kNoLimit).shared, 1);
}

TEST(PrefixTreeTest, GivesASlotBackWithItsState) {
  Rig rig({.slots = 2}, /*start=*/false);
  PrefixTree tree(kAmple);
  CachedState state;
  state.slot = *rig.pool->Acquire();
  tree.Put("", Count(0, 4), std::move(state));
  EXPECT_EQ(tree.states_in_slots(), 1);
  EXPECT_EQ(rig.pool->free_slots(), 1);
  EXPECT_EQ(tree.OldestOnHost(), nullptr);
  tree.Replace(*tree.OldestInSlot(), Marked(7));
  EXPECT_EQ(rig.pool->free_slots(), 2);
  EXPECT_EQ(tree.states_in_slots(), 0);
  EXPECT_EQ(tree.states_on_host(), 1);
  EXPECT_EQ(MarkOf(*tree.Find("", Count(0, 4), kNoLimit).node), 7);

  CachedState another;
  another.slot = *rig.pool->Acquire();
  tree.Put("", Count(0, 5), std::move(another));
  tree.Drop(*tree.OldestInSlot());
  EXPECT_EQ(rig.pool->free_slots(), 2);
}

TEST(PrefixTreeTest, ForgetsTheLeavesUsedLongestAgoWithinItsBound) {
  constexpr int64_t kBound = 20000;
  PrefixTree tree(kBound);
  tree.Put("", Count(0, 1000), Marked(1));
  tree.Put("", Count(5000, 1000), Marked(2));
  tree.Find("", Count(0, 1000), kNoLimit);
  for (int32_t i = 0; i < 3; ++i) {
    tree.Insert("", Count(10000 * (i + 2), 1000));
    EXPECT_LE(tree.bytes(), kBound);
  }
  EXPECT_EQ(tree.Find("", Count(0, 1000), kNoLimit).position, 1000);
  EXPECT_EQ(tree.Find("", Count(5000, 1000), kNoLimit).shared, 0);
  EXPECT_EQ(tree.states_on_host(), 1);
  EXPECT_EQ(tree.dropped_states(), 1);
}

TEST(PrefixTreeTest, RemembersTheStartOfATextThatIsLongerThanItsBound) {
  PrefixTree tree(8000);
  tree.Insert("salt", Count(0, 100000));
  const int64_t shared = tree.Find("salt", Count(0, 100000), kNoLimit).shared;
  EXPECT_GT(shared, 1000);
  EXPECT_LE(shared, 2000);
  EXPECT_LE(tree.bytes(), 8000);
  tree.Put("salt", Count(0, 100000), Marked(1));
  EXPECT_EQ(tree.states_on_host(), 0);
  EXPECT_EQ(tree.dropped_states(), 1);

  PrefixTree tiny(10);  // not even a node
  tiny.Insert("", Count(0, 1));
  tiny.Put("", Count(0, 1), Marked(1));
  EXPECT_EQ(tiny.bytes(), 0);
}

TEST(PrefixTreeTest, SaltsAreMemoryToo) {
  PrefixTree tree(100000);
  for (int32_t i = 0; i < 1000; ++i) {
    tree.Insert(std::string(1000, 'x') + std::to_string(i), Count(0, 1));
    ASSERT_LE(tree.bytes(), 100000);
  }
  EXPECT_GT(tree.bytes(), 50000);
}

}  // namespace
}  // namespace chela
