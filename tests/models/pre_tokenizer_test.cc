#include "models/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "models/regex_syntax.h"

namespace chela {
namespace {

using testing::HasSubstr;
using Pieces = std::vector<std::string>;

constexpr char kLlama3[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

Pieces Cut(const std::vector<std::string>& patterns, std::string_view text) {
  const auto rules = PreTokenizer::Create(patterns);
  EXPECT_TRUE(rules.ok()) << rules.status();
  Pieces pieces;
  if (!rules.ok()) return pieces;
  PreTokenizer::Cutter(*rules).ForEachPiece(
      text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

std::vector<size_t> Settled(const std::string& pattern, std::string_view text) {
  const auto rules = PreTokenizer::Create({pattern});
  EXPECT_TRUE(rules.ok()) << rules.status();
  return PreTokenizer::Cutter(*rules).SettledEnds(text);
}

TEST(PreTokenizer, CutsAsThePatternSays) {
  EXPECT_EQ(
      Cut({kLlama3}, "I'LL pay  $12345!!\n\n ok"),
      (Pieces{"I", "'LL", " pay", " ", " $", "123", "45", "!!\n\n", " ok"}));
  // "'" and the long s, which is an s to those who ignore case.
  EXPECT_EQ(Cut({kLlama3}, "a'\xC5\xBF b"), (Pieces{"a", "'\xC5\xBF", " b"}));
}

TEST(PreTokenizer, WhatNoPatternMatchesIsAPieceToo) {
  EXPECT_EQ(Cut({"\\d+"}, "ab12c3"), (Pieces{"ab", "12", "c", "3"}));
  EXPECT_EQ(Cut({}, "ab 12"), (Pieces{"ab 12"}));
  EXPECT_TRUE(Cut({kLlama3}, "").empty());
}

TEST(PreTokenizer, TheNextPatternCutsThePieces) {
  EXPECT_EQ(Cut({"\\d+", "\\p{L}"}, "ab12c"), (Pieces{"a", "b", "12", "c"}));
}

TEST(PreTokenizer, U180EIsNoWhiteSpace) {
  EXPECT_EQ(Cut({"\\s+"}, "a\xE1\xA0\x8E b"),
            (Pieces{"a\xE1\xA0\x8E", " ", "b"}));
}

TEST(PreTokenizer, OnlyEndsThatNothingMovesAreSettled) {
  EXPECT_EQ(Settled(kLlama3, "one two"), (std::vector<size_t>{3}));
  EXPECT_EQ(Settled(kLlama3, "one"), (std::vector<size_t>{}));
  EXPECT_EQ(Settled(kLlama3, "one. Two"), (std::vector<size_t>{3, 4}));
  // "\s+(?!\S)" would take both separators if the text ended behind them.
  EXPECT_EQ(Settled(kLlama3, "a\xE2\x80\xA8\xE2\x80\xA8$ b"),
            (std::vector<size_t>{1, 4, 8}));
}

TEST(PreTokenizer, ARunIsCutAtTheWindowBetweenCharacters) {
  std::string text;
  while (text.size() < 2 * PreTokenizer::kMaxPieceBytes) text += "\xE4\xB8\xAD";
  const Pieces pieces = Cut({kLlama3}, text);
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[0].size(), PreTokenizer::kMaxPieceBytes / 3 * 3);
  EXPECT_EQ(pieces[0] + pieces[1] + pieces[2], text);
}

// Runs that make the alternatives look far ahead and come back.
TEST(PreTokenizer, LongRunsTakeLinearTimeAndNoStack) {
  for (const std::string unit : {" ", "\n ", "a", "!", " a", "\xC2\xA0", "'"}) {
    std::string text;
    while (text.size() < 3'000'000) text += unit;
    const auto begin = std::chrono::steady_clock::now();
    size_t bytes = 0;
    for (const std::string& piece : Cut({kLlama3}, text)) bytes += piece.size();
    EXPECT_EQ(bytes, text.size());
    EXPECT_LT(std::chrono::steady_clock::now() - begin,
              std::chrono::seconds(20));
  }
}

TEST(RegexSyntax, KeepsWhatMeansTheSame) {
  for (const std::string pattern :
       {"abc", "a|b", "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+", "\\p{N}{1,3}", "a{2}",
        "a{2,}", "(?:ab)?", "(?i:'s|'t)", "x(?=y)", "\\+\\-\\[", "[a-z\\-]",
        "[]]", ".", "a+?b*+", "\xE4\xB8\x80+", "[\xE4\xB8\x80-\xE9\xBE\xA5]"}) {
    const auto pcre = ToPcreSyntax(pattern);
    if (pattern == "[]]") {
      EXPECT_FALSE(pcre.ok());
      continue;
    }
    ASSERT_TRUE(pcre.ok()) << pcre.status();
    EXPECT_EQ(*pcre, pattern);
  }
  EXPECT_EQ(*ToPcreSyntax("\\s[^\\S]"), "\\p{White_Space}[^\\P{White_Space}]");
}

TEST(RegexSyntax, RefusesWhatMeansSomethingElseOrTakesForever) {
  for (const std::string pattern : {"^a",
                                    "a$",
                                    "\\h",
                                    "\\w",
                                    "\\b",
                                    "\\v",
                                    "\\K",
                                    "\\x41",
                                    "\\1",
                                    "\\",
                                    "\\p{Han}",
                                    "\\p{^L}",
                                    "\\pL",
                                    "\\p{L",
                                    "(?<=a)b",
                                    "(?<!a)b",
                                    "(?>a)",
                                    "(?m:a)",
                                    "(?i)a",
                                    "(*UTF)a",
                                    "(a)*",
                                    "(a)+",
                                    "(a){2}",
                                    "(a)?+",
                                    "(a",
                                    "a)",
                                    "[a",
                                    "[[:alpha:]]",
                                    "[a&&b]",
                                    "[\\d-z]",
                                    "[a-\\d]",
                                    "a{,2}",
                                    "a{x}",
                                    "a{2}+",
                                    "a{2}?",
                                    "a++?",
                                    "*a",
                                    "?",
                                    "{",
                                    "(?i:ss)",
                                    "(?i:Fi)",
                                    "(?i:\xC3\x9F)",
                                    "(?i:[\xC3\x9F])"}) {
    const auto status = ToPcreSyntax(pattern).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << pattern;
    EXPECT_THAT(std::string(status.message()), HasSubstr("at byte"));
  }
  EXPECT_FALSE(ToPcreSyntax("").ok());
  EXPECT_FALSE(ToPcreSyntax(std::string(5000, 'a')).ok());
}

TEST(Regex, RefusesWhatPcreRefusesAndTheEmptyMatch) {
  EXPECT_FALSE(Regex::Compile("[z-a]").ok());
  EXPECT_FALSE(Regex::Compile("a{3,2}").ok());
  EXPECT_FALSE(Regex::Compile("a{99999}").ok());
  EXPECT_FALSE(
      Regex::Compile(std::string(600, '(') + std::string(600, ')')).ok());
  EXPECT_THAT(std::string(Regex::Compile("a?|b").status().message()),
              HasSubstr("the empty string"));
}

}  // namespace
}  // namespace chela
