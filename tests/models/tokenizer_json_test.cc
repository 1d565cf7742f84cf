#include "models/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "models/byte_alphabet.h"
#include "models/byte_level_tokenizer.h"
#include "tests/support/tokenizer_files.h"

namespace chela {
namespace {

using nlohmann::json;
using test_support::TokenizerConfig;
using testing::HasSubstr;

// 256 bytes, then "th", "the", "in" (258).
json Small() {
  json vocab = json::object();
  for (int byte = 0; byte < 256; ++byte) {
    vocab[ByteCharacter(static_cast<uint8_t>(byte))] = byte;
  }
  vocab["th"] = 256;
  vocab["the"] = 257;
  vocab["in"] = 258;
  return {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", json::array()},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
      {"post_processor", nullptr},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model",
       {{"type", "BPE"},
        {"vocab", vocab},
        {"merges", {"t h", "th e", "i n"}}}}};
}

json Added(int id, const std::string& content) {
  return {{"id", id}, {"content", content}};
}

json Split(const std::string& pattern) {
  return {{"type", "Sequence"},
          {"pretokenizers",
           {{{"type", "Split"},
             {"pattern", {{"Regex", pattern}}},
             {"behavior", "Isolated"},
             {"invert", false}},
            {{"type", "ByteLevel"},
             {"add_prefix_space", false},
             {"use_regex", false}}}}};
}

absl::Status Load(const std::string& text, int32_t vocab_size = 1000) {
  return ByteLevelTokenizer::Create(text, TokenizerConfig(vocab_size)).status();
}

// One line that holds `message`.
void ExpectRefused(const std::string& text, const std::string& message,
                   int32_t vocab_size = 1000) {
  const absl::Status status = Load(text, vocab_size);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  const std::string got(status.message());
  EXPECT_THAT(got, HasSubstr(message));
  EXPECT_EQ(got.find('\n'), std::string::npos) << got;
  EXPECT_LT(got.size(), 400u) << got;
}

// The small file with `value` at a JSON pointer.
std::string With(const std::string& pointer, const json& value) {
  json file = Small();
  file[json::json_pointer(pointer)] = value;
  return file.dump();
}

TEST(TokenizerJson, ReadsASmallFile) {
  const auto file = TokenizerJson::Parse(Small().dump(), 259);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->tokens.size(), 259u);
  EXPECT_EQ(file->merges.size(), 3u);
  EXPECT_EQ(file->merges[1].merged, 257);
  EXPECT_EQ(file->byte_ids[' '], ' ');
  EXPECT_EQ(file->patterns.size(), 1u);
  EXPECT_FALSE(file->add_prefix_space);
  EXPECT_FALSE(file->nfc);
}

TEST(TokenizerJson, TakesBothFormsOfMerges) {
  EXPECT_TRUE(
      Load(With("/model/merges", json::parse(R"([["t","h"],["th","e"]])")))
          .ok());
  for (const char* merge :
       {"\"th\"", "\"t h e\"", "[\"t\"]", "[\"t\",\"h\",\"e\"]", "[1,2]", "7",
        "{}", "\"\""}) {
    ExpectRefused(With("/model/merges/1", json::parse(merge)),
                  "model.merges[1]");
  }
}

TEST(TokenizerJson, RefusesMergesOfUnknownTokensAndTwice) {
  ExpectRefused(With("/model/merges/1", "t e"), "\"te\" is none");
  ExpectRefused(With("/model/merges/1", "zz e"), "\"zz\" is none");
  ExpectRefused(With("/model/merges/1", "t h"), "each pair once");
  ExpectRefused(With("/model/merges", "t h"), "model.merges");
}

TEST(TokenizerJson, RefusesIdsThatCannotBe) {
  for (const json& id : {json(-1), json(1000), json(1.5), json("3"), json(),
                         json(18446744073709551615u)}) {
    ExpectRefused(With("/model/vocab/the", id), "model.vocab[\"the\"]");
  }
  ExpectRefused(With("/model/vocab/the", 256), "an id of its own");
  ExpectRefused(Small().dump(), "model.vocab", 258);
}

TEST(TokenizerJson, RefusesAVocabularyWithoutEveryByte) {
  json file = Small();
  file["model"]["vocab"].erase("Ċ");
  ExpectRefused(file.dump(), "for byte 10;");
  ExpectRefused(With("/model/vocab", json::object()), "for byte 0;");
  ExpectRefused(With("/model/vocab", json::array()), "model.vocab");
  ExpectRefused(With("/model/vocab/", 300), "a token that has text");
}

TEST(TokenizerJson, RefusesWhatWouldChangeIds) {
  ExpectRefused(With("/model/type", "Unigram"), "model.type");
  ExpectRefused(With("/model/dropout", 0.1), "model.dropout");
  ExpectRefused(With("/model/continuing_subword_prefix", "##"),
                "model.continuing_subword_prefix");
  ExpectRefused(With("/model/end_of_word_suffix", "</w>"),
                "model.end_of_word_suffix");
  ExpectRefused(With("/model/ignore_merges", "yes"), "model.ignore_merges");
  ExpectRefused(With("/model/new_option", 1), "\"model.new_option\"");
  ExpectRefused(With("/truncation", {{"max_length", 512}}), "truncation");
  ExpectRefused(With("/padding", {{"strategy", "BatchLongest"}}), "padding");
  ExpectRefused(With("/version", "2.0"), "version");
  ExpectRefused(With("/surprise", 1), "\"surprise\"");
}

TEST(TokenizerJson, IgnoresWhatChangesNothing) {
  for (const std::string& text :
       {With("/model/unk_token", "<unk>"), With("/model/fuse_unk", true),
        With("/model/byte_fallback", true), With("/model/dropout", nullptr),
        With("/model/dropout", 0.0),
        With("/model/continuing_subword_prefix", ""),
        With("/pre_tokenizer/trim_offsets", false),
        With("/post_processor", {{"type", "ByteLevel"}})}) {
    EXPECT_TRUE(Load(text).ok()) << Load(text);
  }
  json file = Small();
  file["model"].erase("type");  // As GPT-2's.
  EXPECT_TRUE(Load(file.dump()).ok());
}

TEST(TokenizerJson, RefusesOtherNormalizersPreTokenizersAndDecoders) {
  ExpectRefused(With("/normalizer", {{"type", "Lowercase"}}), "normalizer");
  ExpectRefused(With("/normalizer", json::parse(R"({"type": "Sequence",
      "normalizers": [{"type": "NFC"}, {"type": "Strip"}]})")),
                "normalizer.normalizers[1]");
  EXPECT_TRUE(Load(With("/normalizer", {{"type", "NFC"}})).ok());
  ExpectRefused(With("/pre_tokenizer", nullptr), "pre_tokenizer: null");
  ExpectRefused(With("/pre_tokenizer", {{"type", "Metaspace"}}),
                "pre_tokenizer");
  ExpectRefused(With("/pre_tokenizer/use_regex", "no"), "use_regex");
  ExpectRefused(With("/decoder", nullptr), "decoder: null");
  ExpectRefused(With("/decoder", {{"type", "WordPiece"}}), "decoder");
}

TEST(TokenizerJson, RefusesSplitsOfOtherKinds) {
  EXPECT_TRUE(Load(With("/pre_tokenizer", Split("a|b"))).ok());
  json split = Split("a|b");
  split["pretokenizers"][0]["behavior"] = "Removed";
  ExpectRefused(With("/pre_tokenizer", split), "pretokenizers[0].behavior");
  split = Split("a|b");
  split["pretokenizers"][0]["invert"] = true;
  ExpectRefused(With("/pre_tokenizer", split), "pretokenizers[0].invert");
  split = Split("a|b");
  split["pretokenizers"][0]["pattern"] = {{"String", "a"}};
  ExpectRefused(With("/pre_tokenizer", split), "pretokenizers[0].pattern");
  split = Split("a|b");
  split["pretokenizers"][1]["add_prefix_space"] = true;
  ExpectRefused(With("/pre_tokenizer", split), "add_prefix_space");
  split = Split("a|b");
  split["pretokenizers"].erase(1);
  ExpectRefused(With("/pre_tokenizer", split), "pretokenizers[0]");
  ExpectRefused(With("/pre_tokenizer", Split("(a+)+")), "a repeated group");
  ExpectRefused(With("/pre_tokenizer", Split("a*")), "the empty string");
}

TEST(TokenizerJson, RefusesAddedTokensThatCannotBe) {
  const auto refused = [](const json& tokens, const std::string& message) {
    ExpectRefused(With("/added_tokens", tokens), message);
  };
  EXPECT_TRUE(
      Load(With("/added_tokens", json::array({Added(259, "<a>")}))).ok());
  EXPECT_TRUE(
      Load(With("/added_tokens", json::array({Added(257, "the")}))).ok());
  refused(json::array({Added(300, "<a>")}),
          "added_tokens[0].id: 300; want 259");
  refused(json::array({Added(3, "<a>")}), "added_tokens[0].id: 3; want 259");
  refused(json::array({Added(3, "the")}), "want 257, as in model.vocab");
  refused(json::array({Added(259, "<a>"), Added(260, "<a>")}),
          "each text once");
  refused(json::array({Added(259, "<a>"), Added(259, "<b>")}),
          "added_tokens[1].id");
  refused(json::array({Added(259, "")}), "added_tokens[0].content");
  refused(json::array({Added(259, std::string(513, 'x'))}), "1 to 512 bytes");
  refused(json::array({Added(-1, "<a>")}), "added_tokens[0].id");
  refused(json::array({7}), "added_tokens[0]");
  refused(json::array({{{"id", 259}}}), "added_tokens[0].content");
  refused(7, "added_tokens");
  json odd = Added(259, "<a>");
  odd["lstrip"] = 1;
  refused(json::array({odd}), "added_tokens[0].lstrip");
  ExpectRefused(With("/added_tokens", json::array({Added(259, "<a>")})),
                "vocab_size - 1", 259);
  // As text it is "Ġa", as a token of the vocabulary " a".
  json file = Small();
  file["model"]["vocab"]["Ġa"] = 259;
  file["added_tokens"] = json::array({Added(259, "Ġa")});
  ExpectRefused(file.dump(), "stands for other bytes");
  json rstrip = Added(259, "<a>");
  rstrip["rstrip"] = true;
  refused(json::array({rstrip, Added(260, " b")}), "white space in front");
}

TEST(TokenizerJson, RefusesIdsThatTheLibraryWouldGiveTwice) {
  json file = Small();
  file["model"]["vocab"]["xyz"] = 260;  // Leaves 259 open; 260 tokens.
  file["added_tokens"] = json::array({Added(260, "<a>")});
  ExpectRefused(file.dump(), "model.vocab has not");
}

TEST(TokenizerJson, RefusesAnAddedTokenThatIsNotComposed) {
  json file = Small();
  file["normalizer"] = {{"type", "NFC"}};
  file["added_tokens"] = json::array({Added(259, "e\xCC\x81")});
  file["added_tokens"][0]["normalized"] = true;
  ExpectRefused(file.dump(), "NFC");
  file["added_tokens"][0]["normalized"] = false;
  EXPECT_TRUE(Load(file.dump()).ok());
}

TEST(TokenizerJson, TakesTemplatesWithOneTokenInFront) {
  json one = json::parse(R"({"type": "TemplateProcessing", "single": [
      {"SpecialToken": {"id": "<s>", "type_id": 0}},
      {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [5], "tokens": ["<s>"]}}})");
  auto file = TokenizerJson::Parse(With("/post_processor", one), 1000);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->front_token, 5);
  json behind = one;
  behind["single"].push_back(behind["single"][0]);
  ExpectRefused(With("/post_processor", behind), "post_processor.single");
  json unknown = one;
  unknown["special_tokens"] = json::object();
  ExpectRefused(With("/post_processor", unknown), "special_tokens");
  one["special_tokens"]["<s>"]["ids"] = {-1};
  ExpectRefused(With("/post_processor", one), "special_tokens");
  ExpectRefused(With("/post_processor", {{"type", "RobertaProcessing"}}),
                "post_processor");
  ExpectRefused(With("/post_processor", {{"type", "Sequence"}}), "processors");
}

TEST(TokenizerJson, RefusesWhatIsNoJsonObject) {
  ExpectRefused("", "not JSON");
  ExpectRefused("[]", "want an object");
  ExpectRefused("{}", "version");
  ExpectRefused("{\"version\": \"1.0\"}", "model");
  ExpectRefused("{\"version\": \"\xFF\"}", "not JSON");
  ExpectRefused("{\"version\": \"\\ud800\"}", "not JSON");
  ExpectRefused("{\"model\": 1, \"model\": 2}", "stands twice");
  std::string twice = Small().dump();
  twice.replace(twice.find("\"th\":256"), 8, "\"the\":256");
  ExpectRefused(twice, "stands twice");
}

TEST(TokenizerJson, RefusesEveryTruncation) {
  const std::string text = Small().dump();
  for (size_t size = 0; size < text.size(); size += 7) {
    EXPECT_FALSE(Load(text.substr(0, size)).ok()) << size;
  }
}

}  // namespace
}  // namespace chela
