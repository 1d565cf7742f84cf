#include "models/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace chela {
namespace {

const std::string kBad = "\xEF\xBF\xBD";  // U+FFFD

TEST(Utf8, ReadsTheFirstAndLastCharacterOfEachLength) {
  const struct {
    std::string bytes;
    char32_t code_point;
  } kCases[] = {{std::string(1, '\0'), 0},
                {"\x7F", 0x7F},
                {"\xC2\x80", 0x80},
                {"\xDF\xBF", 0x7FF},
                {"\xE0\xA0\x80", 0x800},
                {"\xED\x9F\xBF", 0xD7FF},
                {"\xEE\x80\x80", 0xE000},
                {"\xEF\xBF\xBF", 0xFFFF},
                {"\xF0\x90\x80\x80", 0x10000},
                {"\xF4\x8F\xBF\xBF", 0x10FFFF}};
  for (const auto& c : kCases) {
    const Utf8Step step = NextUtf8(c.bytes);
    EXPECT_EQ(step.kind, Utf8Kind::kCharacter)
        << static_cast<uint32_t>(c.code_point);
    EXPECT_EQ(step.length, c.bytes.size());
    EXPECT_TRUE(step.code_point == c.code_point);
  }
}

TEST(Utf8, TakesOverlongFormsSurrogatesAndTooLargeValuesForBroken) {
  for (const std::string bytes :
       {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80",
        "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"}) {
    const Utf8Step step = NextUtf8(bytes);
    EXPECT_EQ(step.kind, Utf8Kind::kBroken);
    EXPECT_EQ(step.length, 1u);
  }
}

// The example of Unicode 15, table 3-8.
TEST(Utf8, ReplacesMaximalSubparts) {
  EXPECT_EQ(ToValidUtf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"),
            kBad + kBad + kBad + kBad + kBad + kBad + kBad + kBad + "A");
  EXPECT_EQ(ToValidUtf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"),
            kBad + kBad + kBad + kBad + "A");
}

TEST(Utf8, LeavesValidTextAsItIs) {
  const std::string text("a\0\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x91\x8B", 11);
  EXPECT_EQ(ToValidUtf8(text), text);
  EXPECT_EQ(CompleteUtf8Prefix(text), text.size());
}

TEST(Utf8, APrefixEndsBeforeACharacterThatIsCutOff) {
  EXPECT_EQ(CompleteUtf8Prefix(""), 0u);
  EXPECT_EQ(CompleteUtf8Prefix("a\xC3"), 1u);
  EXPECT_EQ(CompleteUtf8Prefix("a\xE4\xB8"), 1u);
  EXPECT_EQ(CompleteUtf8Prefix("a\xF0\x9F\x91"), 1u);
}

TEST(Utf8, ABrokenSequenceAtTheEndIsComplete) {
  EXPECT_EQ(CompleteUtf8Prefix("a\x80"), 2u);
  EXPECT_EQ(CompleteUtf8Prefix("\x80\x80\x80\x80"), 4u);
  EXPECT_EQ(CompleteUtf8Prefix("a\xE0\x80"), 3u);  // No character starts so.
  EXPECT_EQ(CompleteUtf8Prefix("a\xFF"), 2u);
}

}  // namespace
}  // namespace chela
