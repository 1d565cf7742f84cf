#include "tests/support/tokenizer_files.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <utility>

#include "models/byte_level_tokenizer.h"
#include "models/sentencepiece_tokenizer.h"

namespace chela::test_support {
namespace {

std::unique_ptr<Tokenizer> Given(
    absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer) {
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

std::string Drawn(std::mt19937& random, size_t count,
                  const std::vector<std::string>& parts) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += parts[random() % parts.size()];
  return text;
}

}  // namespace

std::string TokenizerData(const std::string& name) {
  std::ifstream file(CHELA_SOURCE_DIR "/tests/data/tokenizers/" + name,
                     std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

ModelConfig TokenizerConfig(int32_t vocab_size) {
  ModelConfig config;
  config.vocab_size = vocab_size;
  config.bos_token_id = 1;
  config.eos_token_id = 2;
  return config;
}

std::unique_ptr<Tokenizer> LoadJson(const std::string& name) {
  return Given(ByteLevelTokenizer::Create(TokenizerData(name + ".json"),
                                          TokenizerConfig()));
}

std::unique_ptr<Tokenizer> LoadSentencePiece(const std::string& name) {
  return Given(SentencePieceTokenizer::Create(TokenizerData(name + ".model"),
                                              TokenizerConfig()));
}

std::vector<int32_t> Concatenated(std::vector<int32_t> a,
                                  const std::vector<int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::string RandomPieceText(std::mt19937& random, size_t parts) {
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
  return Drawn(random, parts, kParts);
}

std::string RandomTokenizerText(std::mt19937& random, size_t parts) {
  static const std::vector<std::string> kParts = {"the",
                                                  " ",
                                                  "  ",
                                                  " and",
                                                  "\n",
                                                  "\n\n",
                                                  "ing",
                                                  "e",
                                                  "'s",
                                                  "'",
                                                  "'ll",
                                                  "\t",
                                                  "0",
                                                  "1984",
                                                  "word",
                                                  "\xC3\xA9",
                                                  "e",
                                                  "\xCC\x81",
                                                  "\xCC\x96",
                                                  "\xE2\x80\xA8",
                                                  "\xE4\xB8\xAD",
                                                  "<a",
                                                  "<a>",
                                                  "<a><b>",
                                                  "<",
                                                  "<mask>",
                                                  "<end>",
                                                  "<both>",
                                                  "w\xC3\xB6rd!",
                                                  "<|eot_id|>",
                                                  "<|im_end|>",
                                                  "<|",
                                                  "\xFF",
                                                  "\x80",
                                                  "\xF0\x9F",
                                                  "\xE2\x80",
                                                  "Hello",
                                                  ".",
                                                  ", ",
                                                  "!!",
                                                  "caf\xC3\xA9",
                                                  "cafe\xCC\x81",
                                                  "\xE1\x84\x80",
                                                  "\xE1\x85\xA1",
                                                  std::string(1, '\0'),
                                                  "\xF0\x9F\x91\x8B",
                                                  "\xE3\x80\x80",
                                                  "s"};
  return Drawn(random, parts, kParts);
}

}  // namespace chela::test_support
