#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "models/sentencepiece_tokenizer.h"

namespace chela {
namespace {

using Ids = std::vector<int32_t>;

constexpr const char* kModels[] = {"unigram_prefix", "bpe_plain",
                                   "unigram_phrases", "bpe_unknown"};
std::string ReadData(const std::string& name) {
  std::ifstream file(
      std::string(CHELA_SOURCE_DIR "/tests/data/tokenizers/") + name,
      std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

ModelConfig Config(int32_t vocab_size = 2048) {
  ModelConfig config;
  config.vocab_size = vocab_size;
  config.bos_token_id = 1;
  config.eos_token_id = 2;
  return config;
}

std::unique_ptr<Tokenizer> Load(const std::string& name) {
  auto tokenizer =
      SentencePieceTokenizer::Create(ReadData(name + ".model"), Config());
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

Ids Concatenated(Ids a, const Ids& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Words, scripts, symbols of the models, and bytes that are no text.
std::string RandomText(std::mt19937& random, size_t parts) {
  static const std::vector<std::string> kParts = {"the",
                                                  " ",
                                                  "  ",
                                                  " and",
                                                  "\n",
                                                  "\n\n",
                                                  "ing",
                                                  "e",
                                                  "=",
                                                  "==",
                                                  "<|turn|>",
                                                  "<|",
                                                  "\t",
                                                  "0",
                                                  "19",
                                                  "\xC3\xA9",
                                                  "\xD0\xB6\xD0\xB8",
                                                  "\xE4\xB8\xAD",
                                                  "\xF0\x9F\x91\x8B",
                                                  "\xE2\x96\x81",
                                                  "\xE2\x96",
                                                  "\xFF",
                                                  "\x80",
                                                  "\xF0\x9F",
                                                  std::string(1, '\0'),
                                                  "</s>",
                                                  "<0x41>",
                                                  ".",
                                                  ", ",
                                                  "\"",
                                                  "\xEF\xBF\xBD"};
  std::string text;
  for (size_t i = 0; i < parts; ++i) text += kParts[random() % kParts.size()];
  return text;
}

// By the definition of the header, for every prefix of many texts.
TEST(StablePrefix, StablePrefixesEncodeLikeTheWhole) {
  std::mt19937 random(5);
  for (const std::string name : kModels) {
    const auto tokenizer = Load(name);
    for (int round = 0; round < 150; ++round) {
      const std::string text = RandomText(random, 1 + random() % 12);
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
  for (const std::string name : kModels) {
    const auto tokenizer = Load(name);
    for (int round = 0; round < 100; ++round) {
      const std::string text = RandomText(random, random() % 100);
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
  const auto tokenizer = Load("unigram_prefix");
  EXPECT_EQ(tokenizer->StablePrefix("It was the best of tim"), 18u);
  EXPECT_EQ(tokenizer->StablePrefix(""), 0u);
}

TEST(StablePrefix, AnIncompleteCharacterIsNeverStable) {
  const auto tokenizer = Load("unigram_prefix");
  EXPECT_LT(tokenizer->StablePrefix("ab \xE4\xB8"), 4u);
  EXPECT_EQ(tokenizer->StablePrefix("ab\xFF"), 3u);
}

TEST(StablePrefix, ALongRunWithoutAPlaceToCutIsBounded) {
  std::string text;
  while (text.size() < 1'000'000) text += "ab";
  for (const std::string name : {"unigram_prefix", "bpe_plain"}) {
    const auto tokenizer = Load(name);
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
