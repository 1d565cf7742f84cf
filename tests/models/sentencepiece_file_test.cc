#include "models/sentencepiece_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <limits>
#include <random>
#include <sstream>
#include <string>

#include "models/sentencepiece_tokenizer.h"

namespace chela {
namespace {

using testing::HasSubstr;
using PieceType = SentencePieceFile::PieceType;

// A field of wire type 2 (a number below 16, fewer than 128 bytes).
std::string Field(int number, const std::string& bytes) {
  return std::string(1, static_cast<char>(number << 3 | 2)) +
         static_cast<char>(bytes.size()) + bytes;
}

std::string Piece(const std::string& text, PieceType type, float score = -1) {
  std::string bytes = Field(1, text);
  bytes += '\x15';
  bytes.append(4, '\0');
  std::memcpy(bytes.data() + bytes.size() - 4, &score, 4);
  return Field(1, bytes + '\x18' + static_cast<char>(type));
}

const std::string kPlain("\x1A\x02\x20\x00", 4);  // Keeps extra whitespace.
const std::string kUnigramSpec("\x12\x02\x18\x01", 4);

std::string Specials() {
  return Piece("<unk>", PieceType::kUnknown) +
         Piece("<s>", PieceType::kControl) + Piece("</s>", PieceType::kControl);
}

std::string Model(const std::string& more) {
  return Specials() + Piece("a", PieceType::kNormal) + more + kUnigramSpec +
         kPlain;
}

ModelConfig Config(int32_t vocab_size) {
  ModelConfig config;
  config.vocab_size = vocab_size;
  return config;
}

void ExpectRefused(const std::string& bytes, const std::string& message) {
  const auto status =
      SentencePieceTokenizer::Create(bytes, Config(1000)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

TEST(SentencePieceFile, ReadsASmallModel) {
  const auto file =
      SentencePieceFile::Parse(Model(Piece("b", PieceType::kUserDefined)));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->pieces.size(), 5u);
  EXPECT_EQ(file->pieces[3].text, "a");
  EXPECT_EQ(file->pieces[4].type, PieceType::kUserDefined);
  EXPECT_TRUE(file->add_dummy_prefix);  // The format's default.
  EXPECT_FALSE(file->byte_fallback);
  EXPECT_TRUE(SentencePieceTokenizer::Create(Model(""), Config(4)).ok());
}

TEST(SentencePieceFile, RefusesMorePiecesThanTheVocabulary) {
  const auto status =
      SentencePieceTokenizer::Create(Model(""), Config(3)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("4 pieces"));
}

TEST(SentencePieceFile, RefusesAModelThatRewritesItsText) {
  ExpectRefused(Model("") + Field(3, Field(2, "charsmap")), "charsmap");
  ExpectRefused(Specials() + kUnigramSpec, "remove_extra_whitespaces");
  ExpectRefused(Model("") + std::string("\x1A\x02\x28\x00", 4),
                "escape_whitespaces");
  ExpectRefused(Model("") + std::string("\x12\x03\xC0\x01\x01", 5),
                "whitespace_as_suffix");
}

TEST(SentencePieceFile, RefusesAnUnknownKindOfModel) {
  for (const char kind : {'\0', '\3', '\4', '\5'}) {
    ExpectRefused(Model("") + "\x12\x02\x18" + kind, "model_type");
  }
}

TEST(SentencePieceFile, RefusesPiecesThatCannotBe) {
  ExpectRefused(Model(Piece("", PieceType::kNormal)), "piece 4");
  ExpectRefused(Model(Piece(std::string("x\0y", 3), PieceType::kNormal)),
                "NUL");
  ExpectRefused(Model(Piece("x y", PieceType::kNormal)), "space");
  ExpectRefused(Model(Piece("\xE4\xB8", PieceType::kNormal)), "UTF-8");
  ExpectRefused(Model(Piece("<0xGG>", PieceType::kByte)), "BYTE");
  ExpectRefused(Model(Piece("x", static_cast<PieceType>(9))), "type 9");
}

TEST(SentencePieceFile, RefusesAScoreThatIsNotFinite) {
  for (const float score : {std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity()}) {
    ExpectRefused(Model(Piece("x", PieceType::kNormal, score)), "score");
  }
}

TEST(SentencePieceFile, RefusesWhatTheLibraryRefuses) {
  ExpectRefused(Model(Piece("a", PieceType::kNormal)), "SentencePiece refuses");
  ExpectRefused(Piece("a", PieceType::kNormal) + kUnigramSpec + kPlain, "");
}

TEST(SentencePieceFile, RefusesByteFallbackWithoutEveryByte) {
  const std::string fallback("\x12\x03\x98\x02\x01", 5);
  ExpectRefused(Model(Piece("<0x00>", PieceType::kByte)) + fallback, "<0x01>");
}

TEST(SentencePieceFile, RefusesAnEmptyFile) {
  ExpectRefused("", "0 pieces");
  ExpectRefused(kPlain, "0 pieces");
}

TEST(SentencePieceFile, RefusesEveryTruncation) {
  const std::string model = Model("");
  for (size_t size = 0; size < model.size(); ++size) {
    EXPECT_FALSE(
        SentencePieceTokenizer::Create(model.substr(0, size), Config(9)).ok())
        << size;
  }
}

// Whatever a broken file holds, loading ends with a status, and a model that
// loads all the same encodes and decodes.
TEST(SentencePieceFile, SurvivesRandomDamage) {
  std::ifstream file(CHELA_SOURCE_DIR
                     "/tests/data/tokenizers/bpe_unknown.model",
                     std::ios::binary);
  std::stringstream stream;
  stream << file.rdbuf();
  const std::string good = stream.str();
  ASSERT_FALSE(good.empty());
  std::mt19937 random(1);
  int loaded = 0;
  for (int round = 0; round < 200; ++round) {
    std::string bytes = good;
    for (size_t hits = 1 + random() % 4; hits > 0; --hits) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    const auto tokenizer = SentencePieceTokenizer::Create(bytes, Config(1000));
    if (!tokenizer.ok()) continue;
    ++loaded;
    const auto ids = (*tokenizer)->Encode("It was the best of times\xFF.\n");
    EXPECT_TRUE((*tokenizer)->Decode(ids).ok());
  }
  EXPECT_GT(loaded, 0);
}

TEST(SentencePieceFile, ReadsTheByteOfABytePiece) {
  EXPECT_EQ(ByteOfPiece("<0x00>"), 0);
  EXPECT_EQ(ByteOfPiece("<0x0A>"), 10);
  EXPECT_EQ(ByteOfPiece("<0xFF>"), 255);
  for (const std::string text : {"", "<0x0a>", "<0x0A", "<0xG0>", "0x0A"}) {
    EXPECT_EQ(ByteOfPiece(text), -1) << text;
  }
}

}  // namespace
}  // namespace chela
