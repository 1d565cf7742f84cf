#include "models/byte_level_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/tokenizer_files.h"

namespace chela {
namespace {

using test_support::Concatenated;
using test_support::LoadJson;
using test_support::RandomTokenizerText;
using test_support::TokenizerConfig;
using test_support::TokenizerData;
using testing::HasSubstr;
using Ids = std::vector<int32_t>;

constexpr const char* kFiles[] = {"gpt2", "flags", "llama3", "qwen2"};

std::vector<std::string> Names(const Tokenizer& tokenizer, const Ids& ids) {
  std::vector<std::string> names;
  for (const int32_t id : ids) names.push_back(tokenizer.TokenName(id));
  return names;
}

TEST(ByteLevelTokenizer, GivesTheIdsOfThePythonPackage) {
  const auto expected =
      nlohmann::json::parse(TokenizerData("expected_json_ids.json"));
  const auto texts = expected["texts"].get<std::vector<std::string>>();
  ASSERT_GE(texts.size(), 140u);
  for (const std::string name : kFiles) {
    const auto tokenizer = LoadJson(name);
    ASSERT_NE(tokenizer, nullptr);
    EXPECT_EQ(tokenizer->kind(), "byte_level_bpe");
    const auto ids = expected["ids"][name].get<std::vector<Ids>>();
    ASSERT_EQ(ids.size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      ASSERT_EQ(tokenizer->Encode(texts[i]), ids[i])
          << name << ": " << texts[i];
    }
  }
}

TEST(ByteLevelTokenizer, AnyBytesRoundTrip) {
  std::mt19937 random(3);
  const auto tokenizer = LoadJson("gpt2");
  for (int round = 0; round < 1000; ++round) {
    std::string text = RandomTokenizerText(random, random() % 30);
    for (size_t noise = random() % 3; noise > 0; --noise) {
      text.push_back(static_cast<char>(random()));
    }
    const auto back = tokenizer->Decode(tokenizer->EncodePrompt(text));
    ASSERT_TRUE(back.ok());
    ASSERT_EQ(*back, text);
  }
}

TEST(ByteLevelTokenizer, EverySingleByteRoundTrips) {
  for (const std::string name : {"gpt2", "llama3", "qwen2"}) {
    const auto tokenizer = LoadJson(name);
    for (int byte = 0; byte < 256; ++byte) {
      const std::string text(1, static_cast<char>(byte));
      EXPECT_EQ(*tokenizer->Decode(tokenizer->Encode(text)), text) << byte;
    }
  }
}

TEST(ByteLevelTokenizer, BrokenBytesAreTokensOfTheirOwn) {
  const auto tokenizer = LoadJson("gpt2");
  const Ids broken = {tokenizer->Encode("\xFF")[0],
                      tokenizer->Encode("\xFE")[0]};
  EXPECT_EQ(tokenizer->Encode("the\xFF\xFE the"),
            Concatenated(Concatenated(tokenizer->Encode("the"), broken),
                         tokenizer->Encode(" the")));
  EXPECT_EQ(tokenizer->TokenBytes(broken[0], false), "\xFF");
  // The text behind them is no start.
  const auto prefixed = LoadJson("flags");
  EXPECT_EQ(prefixed->Encode("\xFFthe").size(),
            1 + prefixed->EncodeContinuation("the").size());
}

// By the definition in the header, for every prefix of many texts, as a start
// and as the rest of one.
TEST(ByteLevelTokenizer, StablePrefixesEncodeLikeTheWhole) {
  std::mt19937 random(5);
  for (const std::string name : kFiles) {
    const auto tokenizer = LoadJson(name);
    // Characters that change pieces which looked complete; white space whose
    // pieces depend on what is behind them.
    std::vector<std::string> texts = {"it's\xCC\x81 ok", "a'm\xCC\xA3 b",
                                      "x\xE2\x80\xA8\xE2\x80\xA8"
                                      "1 y"};
    while (texts.size() < 250) {
      texts.push_back(RandomTokenizerText(random, 1 + random() % 10));
    }
    for (const std::string& text : texts) {
      const Ids whole = tokenizer->Encode(text);
      const Ids rest = tokenizer->EncodeContinuation(text);
      for (size_t seen = 1; seen <= text.size(); ++seen) {
        const std::string_view view = text;
        const size_t stable = tokenizer->StablePrefix(view.substr(0, seen));
        ASSERT_LE(stable, seen);
        if (stable == 0) continue;  // Nothing was encoded: still at the start.
        const Ids behind = tokenizer->EncodeContinuation(view.substr(stable));
        const std::string_view front = view.substr(0, stable);
        ASSERT_EQ(Concatenated(tokenizer->Encode(front), behind), whole)
            << name << testing::PrintToString(text) << " at " << stable;
        ASSERT_EQ(Concatenated(tokenizer->EncodeContinuation(front), behind),
                  rest)
            << name << testing::PrintToString(text) << " at " << stable;
      }
    }
  }
}

TEST(ByteLevelTokenizer, AStreamOfProseKeepsBackLittle) {
  const std::string text = "It was the best of times, it was the worst of tim";
  for (const std::string name : kFiles) {
    EXPECT_GE(LoadJson(name)->StablePrefix(text), 38u) << name;
    EXPECT_EQ(LoadJson(name)->StablePrefix(""), 0u);
  }
  // The start of an added token, and white space that one might take.
  EXPECT_EQ(LoadJson("gpt2")->StablePrefix("well <|endof"), 4u);
  EXPECT_EQ(LoadJson("gpt2")->StablePrefix("well <|endoftext|>"), 18u);
  EXPECT_EQ(LoadJson("gpt2")->StablePrefix("a \xFF"), 3u);
  EXPECT_EQ(LoadJson("gpt2")->StablePrefix("a b \xE4\xB8"), 3u);
}

TEST(ByteLevelTokenizer, ALongRunWithoutAPlaceToCutIsBounded) {
  const auto tokenizer = LoadJson("llama3");
  std::string text;
  while (text.size() < 4 * PreTokenizer::kMaxPieceBytes) text += "\xC3\xA9t";
  const size_t stable = tokenizer->StablePrefix(text);
  EXPECT_GE(stable, PreTokenizer::kMaxPieceBytes - 3);
  const Ids ids = tokenizer->Encode(text);
  EXPECT_EQ(*tokenizer->Decode(ids), text);
  EXPECT_EQ(Concatenated(tokenizer->Encode(text.substr(0, stable)),
                         tokenizer->EncodeContinuation(text.substr(stable))),
            ids);
}

TEST(ByteLevelTokenizer, AddedTokensAreFoundInAnyText) {
  const auto tokenizer = LoadJson("flags");
  EXPECT_EQ(Names(*tokenizer, tokenizer->EncodeContinuation("<a><b><a>!<a")),
            (std::vector<std::string>{"<a><b>", "<a>", "Ġ", "!", "<a"}));
  EXPECT_EQ(Names(*tokenizer, tokenizer->EncodeContinuation("a  <mask>")),
            (std::vector<std::string>{"a", "<mask>"}));
  EXPECT_EQ(Names(*tokenizer, tokenizer->EncodeContinuation("<end> \n")),
            (std::vector<std::string>{"<end>"}));
  const int32_t word = tokenizer->EncodeContinuation("word")[0];
  EXPECT_EQ(tokenizer->TokenName(word), "word");
  EXPECT_NE(tokenizer->EncodeContinuation("words")[0], word);
}

TEST(ByteLevelTokenizer, SpecialTokensStandForNoTextOthersForTheirOwn) {
  const auto tokenizer = LoadJson("flags");
  EXPECT_EQ(*tokenizer->Decode(tokenizer->EncodeContinuation("x<mask>y<a>z")),
            "x y<a> z");  // Behind each token a space is put in front.
  EXPECT_EQ(tokenizer->TokenBytes(2047, false), "");
  EXPECT_EQ(tokenizer->TokenName(2047), "<unused_2047>");
  EXPECT_EQ(LoadJson("gpt2")->TokenBytes(0, true), "");
  EXPECT_EQ(LoadJson("gpt2")->TokenName(0), "<|endoftext|>");
}

TEST(ByteLevelTokenizer, OnlyTheStartAndWhatFollowsATokenGetASpaceInFront) {
  const auto tokenizer = LoadJson("flags");
  EXPECT_EQ(tokenizer->Encode("the"), tokenizer->EncodeContinuation(" the"));
  EXPECT_EQ(tokenizer->Encode(" the"), tokenizer->EncodeContinuation(" the"));
  EXPECT_NE(tokenizer->Encode("the"), tokenizer->EncodeContinuation("the"));
  EXPECT_TRUE(tokenizer->Encode("").empty());
}

TEST(ByteLevelTokenizer, IgnoreMergesTakesAWholePieceThatIsAToken) {
  const auto tokenizer = LoadJson("llama3");
  EXPECT_EQ(tokenizer->Encode("Hello").size(), 1u);
  EXPECT_EQ(tokenizer->Encode(" unreachable").size(), 1u);
  EXPECT_GT(tokenizer->Encode("Hellos").size(), 2u);
}

TEST(ByteLevelTokenizer, TextIsComposedOnlyIfTheFileSaysSo) {
  const auto composing = LoadJson("qwen2");
  EXPECT_EQ(composing->Encode("cafe\xCC\x81 e\xCC\x81"),
            composing->Encode("caf\xC3\xA9 \xC3\xA9"));
  const auto plain = LoadJson("llama3");
  EXPECT_NE(plain->Encode("cafe\xCC\x81"), plain->Encode("caf\xC3\xA9"));
}

TEST(ByteLevelTokenizer, BosIsTheBusinessOfTheConfig) {
  const auto bos = nlohmann::json::parse(
                       TokenizerData("llama3.json"))["added_tokens"][0]["id"]
                       .get<int32_t>();
  ModelConfig config = TokenizerConfig();
  config.bos_token_id = bos;
  auto tokenizer =
      ByteLevelTokenizer::Create(TokenizerData("llama3.json"), config);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->EncodePrompt("a"), (*tokenizer)->Encode("a"));
  config.add_bos_token = true;
  tokenizer = ByteLevelTokenizer::Create(TokenizerData("llama3.json"), config);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->EncodePrompt("a"),
            Concatenated({bos}, (*tokenizer)->Encode("a")));
  config.bos_token_id = 7;
  tokenizer = ByteLevelTokenizer::Create(TokenizerData("llama3.json"), config);
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(tokenizer.status().message()),
              HasSubstr("bos_token_id of config.json, 7"));
}

TEST(ByteLevelTokenizer, ManyThreadsMayEncodeAtOnce) {
  const auto tokenizer = LoadJson("qwen2");
  std::mt19937 random(9);
  const std::string text = RandomTokenizerText(random, 3000);
  const Ids want = tokenizer->Encode(text);
  std::vector<std::thread> threads;
  std::vector<Ids> got(4);
  for (Ids& ids : got) {
    threads.emplace_back([&] { ids = tokenizer->Encode(text); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Ids& ids : got) EXPECT_EQ(ids, want);
}

}  // namespace
}  // namespace chela
