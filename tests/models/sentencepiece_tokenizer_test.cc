#include "models/sentencepiece_tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/tokenizer_files.h"

namespace chela {
namespace {

using test_support::Concatenated;
using test_support::kSentencePieceModels;
using test_support::LoadSentencePiece;
using test_support::RandomPieceText;
using test_support::TokenizerConfig;
using test_support::TokenizerData;
using Ids = std::vector<int32_t>;

constexpr const char* kByteFallbackModels[] = {"unigram_prefix", "bpe_plain",
                                               "unigram_phrases"};

TEST(SentencePieceTokenizer, GivesTheIdsOfThePythonPackage) {
  const auto expected =
      nlohmann::json::parse(TokenizerData("expected_ids.json"));
  const auto texts = expected["texts"].get<std::vector<std::string>>();
  ASSERT_GE(texts.size(), 40u);
  for (const std::string name : kSentencePieceModels) {
    const auto tokenizer = LoadSentencePiece(name);
    EXPECT_EQ(tokenizer->kind(), "sentencepiece");
    const auto ids = expected["ids"][name].get<std::vector<Ids>>();
    ASSERT_EQ(ids.size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(tokenizer->Encode(texts[i]), ids[i])
          << name << ": " << texts[i];
    }
  }
}

TEST(SentencePieceTokenizer, AnyBytesRoundTripWithByteFallback) {
  std::mt19937 random(3);
  for (const std::string name : kByteFallbackModels) {
    const auto tokenizer = LoadSentencePiece(name);
    for (int round = 0; round < 500; ++round) {
      std::string text = RandomPieceText(random, random() % 30);
      for (size_t noise = random() % 3; noise > 0; --noise) {
        text.push_back(static_cast<char>(random()));
      }
      const auto back = tokenizer->Decode(tokenizer->EncodePrompt(text));
      ASSERT_TRUE(back.ok());
      ASSERT_EQ(*back, text) << name;
    }
  }
}

TEST(SentencePieceTokenizer, EverySingleByteRoundTrips) {
  const auto tokenizer = LoadSentencePiece("unigram_prefix");
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text(1, static_cast<char>(byte));
    EXPECT_EQ(*tokenizer->Decode(tokenizer->Encode(text)), text) << byte;
  }
}

TEST(SentencePieceTokenizer, TheCharacterOfTheSpaceMarkIsNotASpace) {
  const auto tokenizer = LoadSentencePiece("unigram_prefix");
  const std::string text = "a \xE2\x96\x81 b";
  EXPECT_EQ(*tokenizer->Decode(tokenizer->Encode(text)), text);
}

TEST(SentencePieceTokenizer, OnlyTheStartGetsADummyPrefix) {
  const auto tokenizer = LoadSentencePiece("unigram_prefix");
  EXPECT_EQ(tokenizer->Encode("the"), tokenizer->EncodeContinuation(" the"));
  EXPECT_NE(tokenizer->Encode("the"), tokenizer->EncodeContinuation("the"));
  EXPECT_TRUE(tokenizer->Encode("").empty());
  const auto plain = LoadSentencePiece("bpe_plain");
  EXPECT_EQ(plain->Encode("the"), plain->EncodeContinuation("the"));
}

TEST(SentencePieceTokenizer, TheDummyPrefixIsDroppedOnceAndOnlyAtTheStart) {
  const auto tokenizer = LoadSentencePiece("unigram_prefix");
  const Ids ids = tokenizer->EncodeContinuation(" the");
  ASSERT_EQ(ids.size(), 1u);
  EXPECT_EQ(tokenizer->TokenBytes(ids[0], true), "the");
  EXPECT_EQ(tokenizer->TokenBytes(ids[0], false), " the");
  EXPECT_EQ(*tokenizer->Decode({1, ids[0], ids[0]}), "the the");
  EXPECT_EQ(*tokenizer->Decode(tokenizer->Encode("  the")), "  the");
  const auto plain = LoadSentencePiece("bpe_plain");
  EXPECT_EQ(*plain->Decode(plain->Encode(" the")), " the");
}

// Quadratic time would take hours.
TEST(SentencePieceTokenizer, EncodesMegabytesInLinearTime) {
  std::mt19937 random(8);
  std::string text;
  while (text.size() < (size_t{4} << 20)) text += RandomPieceText(random, 1000);
  const auto tokenizer = LoadSentencePiece("bpe_plain");
  EXPECT_EQ(*tokenizer->Decode(tokenizer->Encode(text)), text);
}

TEST(SentencePieceTokenizer, ControlTokensAndPaddingStandForNoText) {
  const auto tokenizer = LoadSentencePiece("bpe_plain");
  EXPECT_EQ(tokenizer->TokenBytes(1, false), "");
  EXPECT_EQ(tokenizer->TokenBytes(2, true), "");
  EXPECT_EQ(tokenizer->TokenBytes(2047, false), "");
  EXPECT_EQ(tokenizer->TokenName(1), "<s>");
  EXPECT_EQ(tokenizer->TokenName(2047), "<unused_2047>");
  EXPECT_EQ(*tokenizer->Decode({1, 2047, 2}), "");
}

TEST(SentencePieceTokenizer, TextThatSpellsAControlTokenIsText) {
  for (const std::string name : kByteFallbackModels) {
    const auto tokenizer = LoadSentencePiece(name);
    const Ids ids = tokenizer->Encode("<s></s><unk><0x0A>");
    for (const int32_t id : ids) EXPECT_GT(id, 2) << name;
    EXPECT_EQ(*tokenizer->Decode(ids), "<s></s><unk><0x0A>");
  }
}

TEST(SentencePieceTokenizer, UserDefinedSymbolsAreOneToken) {
  const auto tokenizer = LoadSentencePiece("bpe_plain");
  for (const std::string symbol : {"\n", "\n\n", "<|turn|>", "==="}) {
    EXPECT_EQ(tokenizer->Encode(symbol).size(), 1u) << symbol;
  }
}

TEST(SentencePieceTokenizer, BytePiecesStandForTheirByte) {
  const auto tokenizer = LoadSentencePiece("unigram_prefix");
  const Ids ids = tokenizer->Encode("\xFF");
  ASSERT_EQ(ids.size(), 2u);  // Behind the dummy prefix.
  EXPECT_EQ(tokenizer->TokenName(ids[1]), "<0xFF>");
  EXPECT_EQ(tokenizer->TokenBytes(ids[1], false), "\xFF");
}

TEST(SentencePieceTokenizer, WithoutByteFallbackTheUnknownShows) {
  const auto tokenizer = LoadSentencePiece("bpe_unknown");
  const Ids ids = tokenizer->Encode("a \xE4\xB8\xAD\xE6\x96\x87\xFF b");
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 0), 2);  // Both characters: one.
  EXPECT_EQ(tokenizer->TokenBytes(0, false), " \xE2\x81\x87 ");
}

TEST(SentencePieceTokenizer, ManyThreadsMayEncodeAtOnce) {
  const auto tokenizer = LoadSentencePiece("unigram_prefix");
  std::mt19937 random(9);
  const std::string text = RandomPieceText(random, 3000);
  const Ids want = tokenizer->Encode(text);
  std::vector<std::thread> threads;
  std::vector<Ids> got(4);
  for (Ids& ids : got) {
    threads.emplace_back([&] { ids = tokenizer->Encode(text); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Ids& ids : got) EXPECT_EQ(ids, want);
}

TEST(SentencePieceTokenizer, TheDemoModelIsExactAndLossless) {
  std::ifstream file(CHELA_SOURCE_DIR "/models/chela-demo/tokenizer.model",
                     std::ios::binary);
  if (!file.good()) GTEST_SKIP() << "this tree has no demo model";
  std::stringstream bytes;
  bytes << file.rdbuf();
  const auto created =
      SentencePieceTokenizer::Create(bytes.str(), TokenizerConfig(8192));
  ASSERT_TRUE(created.ok()) << created.status();
  const Tokenizer& tokenizer = **created;
  std::mt19937 random(10);
  for (int round = 0; round < 300; ++round) {
    const std::string text = RandomPieceText(random, random() % 40);
    ASSERT_EQ(*tokenizer.Decode(tokenizer.Encode(text)), text);
    const size_t stable = tokenizer.StablePrefix(text);
    ASSERT_EQ(Concatenated(tokenizer.Encode(text.substr(0, stable)),
                           tokenizer.EncodeContinuation(text.substr(stable))),
              tokenizer.Encode(text));
  }
}

}  // namespace
}  // namespace chela
