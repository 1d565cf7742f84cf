#include "models/added_tokens.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace chela {
namespace {

using Spans = std::vector<std::string>;

std::string Show(std::string_view text, AddedTokens::Span span) {
  const std::string part(text.substr(span.begin, span.end - span.begin));
  return span.token == nullptr ? part : "[" + part + "]";
}

Spans Split(const AddedTokens& tokens, std::string_view text) {
  Spans spans;
  tokens.Split(text, [&](auto span) { spans.push_back(Show(text, span)); });
  return spans;
}

// The last one is the tail.
Spans SplitOpen(const AddedTokens& tokens, std::string_view text) {
  Spans spans;
  AddedTokens::Span tail;
  tokens.SplitOpen(
      text, [&](auto span) { spans.push_back(Show(text, span)); }, &tail);
  spans.push_back(Show(text, tail));
  return spans;
}

const AddedTokens kPlain({{.content = "<a>", .id = 1},
                          {.content = "<a><b>", .id = 2},
                          {.content = "b>c", .id = 3}});
const AddedTokens kStrips({{.content = "<l>", .lstrip = true},
                           {.content = "<r>", .rstrip = true},
                           {.content = "one", .single_word = true}});

TEST(AddedTokens, TakesTheLongestFromLeftToRight) {
  EXPECT_EQ(Split(kPlain, "x<a>y"), (Spans{"x", "[<a>]", "y"}));
  EXPECT_EQ(Split(kPlain, "<a><b>c"), (Spans{"[<a><b>]", "c"}));
  EXPECT_EQ(Split(kPlain, "<a><b"), (Spans{"[<a>]", "<b"}));
  EXPECT_EQ(Split(kPlain, "<a<b>c"), (Spans{"<a<", "[b>c]"}));
  EXPECT_TRUE(Split(kPlain, "").empty());
  EXPECT_EQ(Split(AddedTokens({}), "<a>"), (Spans{"<a>"}));
}

TEST(AddedTokens, TakesWhiteSpaceAlong) {
  EXPECT_EQ(Split(kStrips, "a \xE3\x80\x80<l> b"),
            (Spans{"a", "[ \xE3\x80\x80<l>]", " b"}));
  EXPECT_EQ(Split(kStrips, "a <r> \n<l> b"),
            (Spans{"a ", "[<r> \n]", "[<l>]", " b"}));
}

TEST(AddedTokens, ASingleWordStandsAlone) {
  EXPECT_EQ(Split(kStrips, "one (one) ones \xC3\xA9one one"),
            (Spans{"[one]", " (", "[one]", ") ones \xC3\xA9one ", "[one]"}));
  EXPECT_EQ(Split(kStrips, "oneone"), (Spans{"oneone"}));
}

TEST(AddedTokens, AnOpenTextKeepsBackWhatMayBecomeAToken) {
  EXPECT_EQ(SplitOpen(kPlain, "x<a>y<"), (Spans{"x", "[<a>]", "y"}));
  EXPECT_EQ(SplitOpen(kPlain, "x<a>"), (Spans{"x"}));  // "<a><b>"?
  EXPECT_EQ(SplitOpen(kPlain, "x<a>z"), (Spans{"x", "[<a>]", "z"}));
  // White space that a token behind it would take.
  EXPECT_EQ(SplitOpen(kStrips, "a \n"), (Spans{"a"}));
  EXPECT_EQ(SplitOpen(kStrips, "a \n<"), (Spans{"a"}));
  // A token whose white space, or right neighbour, has not been seen.
  EXPECT_EQ(SplitOpen(kStrips, "a<r> "), (Spans{"a"}));
  EXPECT_EQ(SplitOpen(kStrips, "a<r> b"), (Spans{"a", "[<r> ]", "b"}));
  EXPECT_EQ(SplitOpen(kStrips, "a,one"), (Spans{"a,"}));
  EXPECT_EQ(SplitOpen(kStrips, "a,one,"), (Spans{"a,", "[one]", ","}));
}

TEST(AddedTokens, ACutMustNotHideANeighbourOfASingleWord) {
  EXPECT_TRUE(kPlain.MayCut("ab", 1));
  EXPECT_TRUE(kStrips.MayCut("ab", 1));
  EXPECT_TRUE(kStrips.MayCut("one.b", 4));
  EXPECT_FALSE(kStrips.MayCut("ones", 3));
  EXPECT_FALSE(kStrips.MayCut("one", 3));
  EXPECT_FALSE(kStrips.MayCut("aone", 1));
  EXPECT_FALSE(kStrips.MayCut("aon", 1));
}

}  // namespace
}  // namespace chela
