#include "models/tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/temp_dir.h"

namespace chela {
namespace {

ModelConfig BytesConfig() {
  ModelConfig config;
  config.vocab_size = 259;
  config.bos_token_id = 256;
  config.eos_token_id = 257;
  config.bytes_tokenizer = true;
  return config;
}

std::unique_ptr<Tokenizer> Bytes(const ModelConfig& config = BytesConfig()) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
      Tokenizer::Load("nowhere", config);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

std::string EveryByte() {
  std::string text;
  for (int byte = 0; byte < 256; ++byte)
    text.push_back(static_cast<char>(byte));
  return text;
}

TEST(ByteTokenizer, AnIdIsTheByte) {
  const auto tokenizer = Bytes();
  EXPECT_EQ(tokenizer->kind(), "bytes");
  EXPECT_EQ(tokenizer->Encode("a\xFF"), (std::vector<int32_t>{97, 255}));
  EXPECT_EQ(tokenizer->EncodeContinuation("a\xFF"),
            (std::vector<int32_t>{97, 255}));
  EXPECT_TRUE(tokenizer->Encode("").empty());
}

TEST(ByteTokenizer, EveryByteRoundTrips) {
  const auto tokenizer = Bytes();
  const auto text = tokenizer->Decode(tokenizer->Encode(EveryByte()));
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text, EveryByte());
}

TEST(ByteTokenizer, EveryPrefixIsStable) {
  EXPECT_EQ(Bytes()->StablePrefix("a\xE4\xB8"), 3u);
}

TEST(ByteTokenizer, SpecialsStandForNoText) {
  const auto tokenizer = Bytes();
  EXPECT_EQ(*tokenizer->Decode({256, 'h', 258, 'i', 257}), "hi");
  EXPECT_EQ(tokenizer->TokenName(256), "<bos>");
  EXPECT_EQ(tokenizer->TokenName(257), "<eos>");
  EXPECT_EQ(tokenizer->TokenName(258), "<special_258>");
}

TEST(ByteTokenizer, NamesWhatCannotBePrinted) {
  const auto tokenizer = Bytes();
  EXPECT_EQ(tokenizer->TokenName('a'), "a");
  EXPECT_EQ(tokenizer->TokenName('\n'), "<0x0A>");
  EXPECT_EQ(tokenizer->TokenName(' '), "<0x20>");
  EXPECT_EQ(tokenizer->TokenName(255), "<0xFF>");
}

TEST(ByteTokenizer, RefusesAVocabularyWithoutRoomForBytes) {
  ModelConfig config = BytesConfig();
  config.vocab_size = 255;
  config.bos_token_id = config.eos_token_id = 0;
  const auto status = Tokenizer::Load("nowhere", config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("255"), absl::string_view::npos) << status;
}

TEST(Tokenizer, RefusesSpecialsOutsideTheVocabulary) {
  for (const int32_t id : {-1, 259}) {
    ModelConfig config = BytesConfig();
    config.bos_token_id = id;
    auto status = Tokenizer::Load("nowhere", config).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("bos_token_id"), absl::string_view::npos);
    config = BytesConfig();
    config.eos_token_id = id;
    status = Tokenizer::Load("nowhere", config).status();
    EXPECT_NE(status.message().find("eos_token_id"), absl::string_view::npos);
  }
}

TEST(Tokenizer, APromptStartsWithBosOnlyIfTheCheckpointWantsIt) {
  ModelConfig config = BytesConfig();
  EXPECT_EQ(Bytes(config)->EncodePrompt("a"), (std::vector<int32_t>{'a'}));
  config.add_bos_token = true;
  EXPECT_EQ(Bytes(config)->EncodePrompt("a"), (std::vector<int32_t>{256, 'a'}));
  EXPECT_EQ(Bytes(config)->EncodePrompt(""), (std::vector<int32_t>{256}));
  EXPECT_EQ(Bytes(config)->Encode("a"), (std::vector<int32_t>{'a'}));
}

TEST(Tokenizer, DecodeNamesTheIndexOfAnIdOutsideTheVocabulary) {
  for (const int32_t id : {-1, 259, 1 << 30}) {
    const auto status = Bytes()->Decode({1, 2, id}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("token 2"), absl::string_view::npos);
  }
}

TEST(Tokenizer, IsNotFoundWithoutAFile) {
  ModelConfig config = BytesConfig();
  config.bytes_tokenizer = false;
  const auto status = Tokenizer::Load("nowhere", config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(status.message().find("nowhere/tokenizer.model"),
            absl::string_view::npos);
}

TEST(Tokenizer, LoadsTheJsonFileUnlessThereIsASentencePieceModel) {
  const test_support::TempDir folder;
  const std::string data = CHELA_SOURCE_DIR "/tests/data/tokenizers/";
  ModelConfig config = BytesConfig();
  config.bytes_tokenizer = false;
  config.vocab_size = 2048;
  std::filesystem::copy(data + "gpt2.json", folder.path() + "/tokenizer.json");
  auto tokenizer = Tokenizer::Load(folder.path(), config);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->kind(), "byte_level_bpe");
  EXPECT_EQ((*tokenizer)->vocab_size(), 2048);
  std::filesystem::copy(data + "bpe_plain.model",
                        folder.path() + "/tokenizer.model");
  tokenizer = Tokenizer::Load(folder.path(), config);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->kind(), "sentencepiece");
}

TEST(Tokenizer, NamesTheJsonFileThatItRefuses) {
  const test_support::TempDir folder;
  ModelConfig config = BytesConfig();
  config.bytes_tokenizer = false;
  const std::string path = folder.Write("tokenizer.json", "{\"model\": 1}");
  auto status = Tokenizer::Load(folder.path(), config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(status.message().find(path + ": version") == 0) << status;
  std::filesystem::resize_file(path, (size_t{64} << 20) + 1);
  status = Tokenizer::Load(folder.path(), config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("67108865 bytes; want at most"),
            absl::string_view::npos)
      << status;
}

TEST(Tokenizer, RefusesAFileThatIsNoModel) {
  const std::string directory = testing::TempDir() + "chela_no_tokenizer";
  const std::string path = directory + "/tokenizer.model";
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  ModelConfig config = BytesConfig();
  config.bytes_tokenizer = false;
  for (const std::string bytes : {"", "{\"json\": true}", "\x0A\xFF\xFF\x7F"}) {
    std::ofstream(path, std::ios::binary) << bytes;
    const auto status = Tokenizer::Load(directory, config).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_NE(status.message().find(path), absl::string_view::npos) << status;
  }
  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  EXPECT_EQ(Tokenizer::Load(directory, config).status().code(),
            absl::StatusCode::kInvalidArgument);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace chela
