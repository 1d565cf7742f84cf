#include "models/unicode_text.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "models/utf8.h"

namespace chela {
namespace {

TEST(NfcNormalizer, Composes) {
  const NfcNormalizer nfc;
  EXPECT_EQ(nfc.Normalize("abc"), "abc");
  EXPECT_EQ(nfc.Normalize("e\xCC\x81"), "\xC3\xA9");
  EXPECT_EQ(nfc.Normalize("\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8"),
            "\xEA\xB0\x81");                             // Hangul
  EXPECT_EQ(nfc.Normalize("\xE2\x84\xAB"), "\xC3\x85");  // angstrom sign
  EXPECT_EQ(nfc.Normalize("\xE0\xA5\x98"),
            "\xE0\xA4\x95\xE0\xA4\xBC");  // is excluded
  // No part of a syllable, although it precedes those in the code charts.
  EXPECT_EQ(nfc.Normalize("\xEA\xB0\x80\xE1\x86\xA7"),
            "\xEA\xB0\x80\xE1\x86\xA7");
  // Dot below before acute, whatever the order in the text.
  EXPECT_EQ(nfc.Normalize("q\xCC\x81\xCC\xA3"), "q\xCC\xA3\xCC\x81");
  EXPECT_EQ(nfc.Normalize(std::string("\0\xC3\xA9", 3)),
            std::string("\0\xC3\xA9", 3));
}

TEST(NfcNormalizer, ALongRunOfMarksIsNotQuadratic) {
  std::string marks = "a";
  for (int i = 0; i < 300'000; ++i) marks += "\xCC\x81\xCC\xA3";
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(NfcNormalizer().Normalize(marks).substr(0, 5),
            "\xE1\xBA\xA1\xCC\xA3");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

// By the definition in the header, for every character behind some that
// compose with much.
TEST(NfcNormalizer, TextMayBeCutBeforeWhatStartsAnew) {
  const NfcNormalizer nfc;
  for (char32_t c = 1; c < 0x30000; ++c) {
    if ((c >= 0xD800 && c < 0xE000) || !nfc.StartsAnew(c)) continue;
    const std::string text = EncodeUtf8(c);
    for (const std::string before : {"a", "\xE1\x84\x80", "\xEA\xB0\x80",
                                     "\xE0\xA7\x87", "\xE3\x81\x8B"}) {
      ASSERT_EQ(nfc.Normalize(before + text),
                nfc.Normalize(before) + nfc.Normalize(text))
          << uint32_t{c};
    }
  }
  EXPECT_FALSE(nfc.StartsAnew(0x301));
  EXPECT_FALSE(nfc.StartsAnew(0x1161));
  EXPECT_FALSE(nfc.StartsAnew(0x11A8));
  EXPECT_FALSE(nfc.StartsAnew(0x9BE));  // A starter that composes.
  EXPECT_TRUE(nfc.StartsAnew(0x4E2D));
  EXPECT_TRUE(nfc.StartsAnew(U'a'));
  EXPECT_EQ(nfc.LastBoundary("ae\xCC\x81"), 1u);
  EXPECT_EQ(nfc.LastBoundary("\xCC\x81"), 0u);
}

TEST(UnicodeText, KnowsWhiteSpaceAndWordCharacters) {
  for (const char32_t c :
       {0x9, 0xD, 0x20, 0x85, 0xA0, 0x1680, 0x2028, 0x3000}) {
    EXPECT_TRUE(IsWhiteSpace(c)) << uint32_t{c};
    EXPECT_FALSE(IsWordCharacter(c)) << uint32_t{c};
  }
  for (const char32_t c : {0x8, 0x180E, 0x200B, 0xFEFF, 0x61}) {
    EXPECT_FALSE(IsWhiteSpace(c)) << uint32_t{c};
  }
  for (const char32_t c : {0x61, 0x5F, 0x30, 0x301, 0x4E2D, 0x24B6, 0x200D}) {
    EXPECT_TRUE(IsWordCharacter(c)) << uint32_t{c};
  }
  for (const char32_t c : {0x2D, 0x27, 0xB2, 0x20AC, 0x1F600}) {
    EXPECT_FALSE(IsWordCharacter(c)) << uint32_t{c};
  }
}

TEST(ValidUtf8Prefix, EndsBeforeWhatIsBroken) {
  EXPECT_EQ(ValidUtf8Prefix(""), 0u);
  EXPECT_EQ(ValidUtf8Prefix("0123456789abcdef\xC3\xA9"), 18u);
  EXPECT_EQ(ValidUtf8Prefix("0123456789abcdef\xC3"), 16u);
  EXPECT_EQ(ValidUtf8Prefix("0123456\xFF"
                            "89"),
            7u);
  EXPECT_EQ(LastCharacter("a\xE4\xB8\xAD"), 0x4E2Du);
  for (const char32_t c : {0x41u, 0xE9u, 0x4E2Du, 0x1F600u}) {
    EXPECT_EQ(NextUtf8(EncodeUtf8(c)).code_point, c);
  }
}

}  // namespace
}  // namespace chela
