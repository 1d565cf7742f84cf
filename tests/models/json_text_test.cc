#include "models/json_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/temp_dir.h"

namespace chela {
namespace {

using ::testing::HasSubstr;

std::string ParseRefusal(std::string_view text) {
  const auto parsed = ParseJsonObject(text);
  if (parsed.ok()) return "accepted";
  EXPECT_TRUE(absl::IsInvalidArgument(parsed.status()));
  const std::string message(parsed.status().message());
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  return message;
}

TEST(JsonText, NamesThePlaceOfASyntaxError) {
  EXPECT_THAT(ParseRefusal("{\"a\": 1,\n}"),
              HasSubstr("syntax error at byte 10"));
  EXPECT_THAT(ParseRefusal(""), HasSubstr("syntax error"));
  EXPECT_THAT(ParseRefusal("{\"a\": NaN}"), HasSubstr("syntax error"));
  EXPECT_THAT(ParseRefusal("{\"a\": 1e999}"), HasSubstr("syntax error"));
  EXPECT_THAT(ParseRefusal("{\"\xff\": 1}"), HasSubstr("syntax error"));
  EXPECT_THAT(ParseRefusal("{} {}"), HasSubstr("syntax error"));
}

TEST(JsonText, RefusesAKeyThatStandsTwice) {
  EXPECT_EQ(ParseRefusal("{\"a\": 1, \"b\": {}, \"a\": 1}"),
            "key \"a\" stands twice");
  EXPECT_EQ(ParseRefusal("{\"x\": [{\"a\": 1, \"a\": 2}]}"),
            "key \"a\" stands twice");
  EXPECT_EQ(ParseRefusal("{\"a\": {\"a\": [{\"a\": 1}, {\"a\": 1}]}}"),
            "accepted");
}

TEST(JsonText, RefusesWhatIsNoObject) {
  for (const char* text : {"1", "\"a\"", "null", "[]", "[{}]"}) {
    EXPECT_EQ(ParseRefusal(text), "found a JSON value; want an object");
  }
}

TEST(JsonText, RefusesDeepNestingWithoutRecursion) {
  std::string text = "{\"a\": ";
  text.append(1'000'000, '[');
  EXPECT_EQ(ParseRefusal(text), "nested deeper than 32 levels");
}

TEST(JsonText, ShowsAHostileNameInOneLine) {
  EXPECT_EQ(Quoted("a\n\"b\x01"), "\"a\\n\\\"b\\x01\"");
  EXPECT_EQ(Quoted(std::string(100, 'x')),
            "\"" + std::string(60, 'x') + "...\"");
}

TEST(JsonText, ReadsAFileUpToItsBound) {
  const test_support::TempDir folder;
  const std::string path = folder.Write("text", "12345");
  EXPECT_EQ(*ReadTextFile(path, 5), "12345");
  EXPECT_TRUE(absl::IsInvalidArgument(ReadTextFile(path, 4).status()));
  EXPECT_TRUE(absl::IsNotFound(ReadTextFile(path + "x", 5).status()));
  EXPECT_EQ(*ReadTextFile(folder.Write("empty", ""), 5), "");
}

TEST(JsonText, RefusesAtOnceToReadWhatIsNoRegularFile) {
  const test_support::TempDir folder;
  const std::string fifo = folder.path() + "/config.json";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  for (const std::string& path : {fifo, folder.path()}) {
    const auto text = ReadTextFile(path, 5);
    EXPECT_TRUE(absl::IsInvalidArgument(text.status()));
    EXPECT_EQ(text.status().message(), path + ": not a regular file");
  }
}

}  // namespace
}  // namespace chela
