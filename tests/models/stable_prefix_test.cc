#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "models/unit_splitter.h"
#include "tests/support/tokenizer_files.h"

namespace chela {
namespace {

using test_support::Concatenated;
using test_support::kSentencePieceModels;
using test_support::LoadSentencePiece;
using test_support::RandomPieceText;
using Ids = std::vector<int32_t>;

// By the definition of the header, for every prefix of many texts.
TEST(StablePrefix, StablePrefixesEncodeLikeTheWhole) {
  std::mt19937 random(5);
  for (const std::string name : kSentencePieceModels) {
    const auto tokenizer = LoadSentencePiece(name);
    for (int round = 0; round < 150; ++round) {
      const std::string text = RandomPieceText(random, 1 + random() % 12);
      const Ids whole = tokenizer->Encode(text);
      for (size_t seen = 1; seen <= text.size(); ++seen) {
        const std::string_view view = text;
        const size_t stable = tokenizer->StablePrefix(view.substr(0, seen));
        ASSERT_LE(stable, seen);
        if (stable == 0) continue;  // Nothing was encoded: still at the start.
        ASSERT_EQ(
            Concatenated(tokenizer->Encode(view.substr(0, stable)),
                         tokenizer->EncodeContinuation(view.substr(stable))),
            whole)
            << name << testing::PrintToString(text) << " at " << stable;
      }
    }
  }
}

TEST(StablePrefix, AStreamInRandomPiecesGivesTheIdsOfTheWhole) {
  std::mt19937 random(6);
  for (const std::string name : kSentencePieceModels) {
    const auto tokenizer = LoadSentencePiece(name);
    for (int round = 0; round < 100; ++round) {
      const std::string text = RandomPieceText(random, random() % 100);
      Ids ids;
      std::string rest;
      bool started = false;
      const auto feed = [&](std::string_view part) {
        if (part.empty()) return;
        ids = Concatenated(ids, started ? tokenizer->EncodeContinuation(part)
                                        : tokenizer->Encode(part));
        started = true;
      };
      for (size_t at = 0; at < text.size();) {
        const size_t size = 1 + random() % 9;
        rest += text.substr(at, size);
        at += size;
        const size_t stable = tokenizer->StablePrefix(rest);
        feed(std::string_view(rest).substr(0, stable));
        rest.erase(0, stable);
      }
      feed(rest);
      ASSERT_EQ(ids, tokenizer->Encode(text)) << name;
    }
  }
}

TEST(StablePrefix, AStreamOfProseKeepsBackNoMoreThanAWord) {
  const auto tokenizer = LoadSentencePiece("unigram_prefix");
  EXPECT_EQ(tokenizer->StablePrefix("It was the best of tim"), 18u);
  EXPECT_EQ(tokenizer->StablePrefix(""), 0u);
}

TEST(StablePrefix, AnIncompleteCharacterIsNeverStable) {
  const auto tokenizer = LoadSentencePiece("unigram_prefix");
  EXPECT_LT(tokenizer->StablePrefix("ab \xE4\xB8"), 4u);
  EXPECT_EQ(tokenizer->StablePrefix("ab\xFF"), 3u);
}

TEST(StablePrefix, ALongRunWithoutAPlaceToCutIsBounded) {
  std::string text;
  while (text.size() < 1'000'000) text += "ab";
  for (const std::string name : {"unigram_prefix", "bpe_plain"}) {
    const auto tokenizer = LoadSentencePiece(name);
    // Pieces hold "ab" and "ba": nowhere is a place to cut.
    ASSERT_EQ(tokenizer->StablePrefix(text.substr(0, 60'000)), 0u);
    const size_t stable = tokenizer->StablePrefix(text);
    EXPECT_GT(stable + UnitSplitter::kMaxBytes, text.size() - 2);
    const Ids ids = tokenizer->Encode(text);
    EXPECT_EQ(*tokenizer->Decode(ids), text);
    // A cut before the first forced one follows the header too.
    const size_t early = tokenizer->StablePrefix(
        std::string_view(text).substr(0, 3 * UnitSplitter::kMaxBytes / 2));
    EXPECT_EQ(Concatenated(tokenizer->Encode(text.substr(0, early)),
                           tokenizer->EncodeContinuation(text.substr(early))),
              ids);
  }
}

}  // namespace
}  // namespace chela
