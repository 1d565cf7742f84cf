#include "models/text_stream.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace chela {
namespace {

struct Result {
  std::string text;
  std::optional<std::string> stop;
  size_t truncated = 0;
  bool operator==(const Result&) const = default;
};

// Everything that comes out when `bytes` is cut after each of `sizes` in turn.
Result Stream(const std::vector<std::string>& stops, std::string_view bytes,
              const std::vector<size_t>& sizes) {
  TextStream stream(stops);
  Result result;
  for (size_t i = 0; !bytes.empty(); ++i) {
    const size_t size = std::min(sizes[i % sizes.size()], bytes.size());
    TextStream::Output output = stream.Push(bytes.substr(0, size));
    EXPECT_EQ(ToValidUtf8(output.text), output.text);
    result.text += output.text;
    result.stop = output.stop;
    if (result.stop.has_value()) return result;
    bytes.remove_prefix(size);
  }
  result.text += stream.Finish();
  result.truncated = stream.truncated_bytes();
  return result;
}

// What the header says, found by trying every end and every stop.
Result Expected(const std::vector<std::string>& stops, std::string_view bytes) {
  const size_t complete = CompleteUtf8Prefix(bytes);
  const std::string text = ToValidUtf8(bytes.substr(0, complete));
  for (size_t end = 1; end <= text.size(); ++end) {
    const std::string* best = nullptr;
    for (const std::string& stop : stops) {
      const bool ends = std::string_view(text).substr(0, end).ends_with(stop);
      if (ends && (best == nullptr || stop.size() > best->size())) best = &stop;
    }
    if (best != nullptr) {
      return {text.substr(0, end - best->size()), *best, 0};
    }
  }
  return {text, std::nullopt, bytes.size() - complete};
}

TEST(TextStream, SendsTextAtOnceWithoutStops) {
  TextStream stream({});
  EXPECT_EQ(stream.Push("hello ").text, "hello ");
  EXPECT_EQ(stream.Push("").text, "");
  EXPECT_EQ(stream.Push("world").text, "world");
  EXPECT_EQ(stream.Finish(), "");
}

TEST(TextStream, JoinsACharacterSplitOverTokens) {
  TextStream stream({});
  EXPECT_EQ(stream.Push("\xF0").text, "");
  EXPECT_EQ(stream.Push("\x9F\x91").text, "");
  EXPECT_EQ(stream.Push("\x8B!").text, "\xF0\x9F\x91\x8B!");
}

TEST(TextStream, ReplacesBytesThatCanBeNoCharacter) {
  TextStream stream({});
  EXPECT_EQ(stream.Push("a\xFF").text, "a\xEF\xBF\xBD");
  EXPECT_EQ(stream.Push("\xE4").text, "");
  EXPECT_EQ(stream.Push("b").text,
            "\xEF\xBF\xBD"
            "b");
}

TEST(TextStream, CountsACharacterCutOffByTheEnd) {
  TextStream stream({});
  EXPECT_EQ(stream.Push("ok\xF0\x9F\x91").text, "ok");
  EXPECT_EQ(stream.truncated_bytes(), 0u);
  EXPECT_EQ(stream.Finish(), "");
  EXPECT_EQ(stream.truncated_bytes(), 3u);
}

TEST(TextStream, FindsAStopOverTokenBoundaries) {
  TextStream stream({"\n\nUser:"});
  EXPECT_EQ(stream.Push("Hi.\n").text, "Hi.");
  EXPECT_EQ(stream.Push("\nUs").text, "");
  const TextStream::Output output = stream.Push("er: more");
  EXPECT_EQ(output.text, "");
  EXPECT_EQ(output.stop, "\n\nUser:");
}

TEST(TextStream, SendsWhatWasHeldBackOnceItCannotMatch) {
  TextStream stream({"abcd"});
  EXPECT_EQ(stream.Push("xabc").text, "x");
  EXPECT_EQ(stream.Push("e").text, "abce");
}

TEST(TextStream, HoldsBackNoMoreThanTheLongestPossibleStart) {
  TextStream stream({"aab"});
  EXPECT_EQ(stream.Push("a").text, "");
  EXPECT_EQ(stream.Push("a").text, "");
  EXPECT_EQ(stream.Push("a").text, "a");  // "aa" may still become "aab".
  EXPECT_EQ(stream.Push("b").stop, "aab");
}

TEST(TextStream, GivesHeldBackTextAtTheEnd) {
  TextStream stream({"STOP"});
  EXPECT_EQ(stream.Push("the STO").text, "the ");
  EXPECT_EQ(stream.Finish(), "STO");
  EXPECT_EQ(stream.Finish(), "");
}

TEST(TextStream, TheStopThatCompletesFirstWins) {
  const Result result = Stream({"abcdef", "cd"}, "xxabcdef", {100});
  EXPECT_EQ(result.stop, "cd");
  EXPECT_EQ(result.text, "xxab");
}

TEST(TextStream, OfStopsThatEndTogetherTheLongestWins) {
  for (const auto& stops : {std::vector<std::string>{"d", "bcd", "cd"},
                            std::vector<std::string>{"bcd", "d", "cd"}}) {
    const Result result = Stream(stops, "abcd", {1});
    EXPECT_EQ(result.stop, "bcd");
    EXPECT_EQ(result.text, "a");
  }
}

TEST(TextStream, DropsWhatFollowsTheStopInTheSameToken) {
  TextStream stream({"."});
  const TextStream::Output output = stream.Push("One. Two. \xF0\x9F");
  EXPECT_EQ(output.text, "One");
  EXPECT_EQ(output.stop, ".");
  EXPECT_EQ(stream.Finish(), "");
  EXPECT_EQ(stream.truncated_bytes(), 0u);
}

TEST(TextStream, FindsAStopWhoseCharactersAreSplit) {
  TextStream stream({"\xE7\xB5\x82"});
  EXPECT_EQ(stream.Push("a\xE7").text, "a");
  EXPECT_EQ(stream.Push("\xB5").text, "");
  EXPECT_EQ(stream
                .Push("\x82"
                      "b")
                .stop,
            "\xE7\xB5\x82");
}

TEST(TextStream, NeverMatchesInsideACharacter) {
  // The last byte of U+4E2D and of U+7D42 alone is no stop of anything.
  const Result result = Stream({"\x82"}, "\xE7\xB5\x82", {1});
  EXPECT_EQ(result.text, "\xE7\xB5\x82");
}

TEST(TextStream, IgnoresAnEmptyStop) {
  EXPECT_EQ(Stream({""}, "text", {1}).text, "text");
}

TEST(TextStream, IsTheSameHoweverTheBytesAreCut) {
  std::mt19937 random(7);
  const std::vector<std::string> alphabet = {"a",
                                             "b",
                                             "ab",
                                             "\n",
                                             "\xC3\xA9",
                                             "\xE4\xB8\xAD",
                                             "\xF0\x9F\x91\x8B",
                                             "\xFF",
                                             "\xE4",
                                             "\x80"};
  const auto pick = [&](size_t n) { return random() % n; };
  const auto text = [&](size_t parts, size_t letters) {
    std::string result;
    for (size_t i = 0; i < parts; ++i) result += alphabet[pick(letters)];
    return result;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stops;
    for (size_t i = pick(4); i > 0; --i) stops.push_back(text(1 + pick(5), 7));
    const std::string bytes = text(pick(40), alphabet.size());
    const Result want = Expected(stops, bytes);
    const std::vector<std::vector<size_t>> kCuts = {
        {1}, {1000}, {1 + pick(3), 1 + pick(5), 1 + pick(9)}};
    for (const auto& sizes : kCuts) {
      ASSERT_EQ(Stream(stops, bytes, sizes), want)
          << testing::PrintToString(stops) << testing::PrintToString(bytes);
    }
  }
}

// 2 MB against stops of 100 kB that nearly match all the time: a search that
// starts over, or copies what is held back, takes 10^11 steps.
TEST(TextStream, IsLinearForLongStopsThatNearlyMatch) {
  const std::string run(100'000, 'a');
  TextStream stream({run + "b", run + "c"});
  size_t sent = 0;
  for (int i = 0; i < 1'000'000; ++i) sent += stream.Push("a").text.size();
  EXPECT_EQ(sent, 900'000u);
  sent += stream.Push(std::string(1'000'000, 'a')).text.size();
  EXPECT_EQ(sent + stream.Finish().size(), 2'000'000u);
}

TEST(TextStream, KeepsTheStopIfItIsToBeIncluded) {
  TextStream stream({"lo w"}, /*include_stop=*/true);
  EXPECT_EQ(stream.Push("hel").text, "he");
  const TextStream::Output output = stream.Push("lo world");
  EXPECT_EQ(output.text, "llo w");
  EXPECT_EQ(output.stop, "lo w");
}

TEST(TextStream, PassesOverStopsThatMayNotStop) {
  TextStream stream({"aa", "aab"});
  EXPECT_EQ(stream.Push("xaaa", /*may_stop=*/false).text, "xa")
      << "the last a may begin a stop, and aa may begin aab";
  const TextStream::Output output = stream.Push("b");
  EXPECT_EQ(output.text, "");
  EXPECT_EQ(output.stop, "aab");
}

TEST(TextStream, StopsAtOneThatBeganWhereNoneMightStop) {
  TextStream stream({"end"});
  EXPECT_EQ(stream.Push("end, the en", /*may_stop=*/false).text, "end, the ");
  EXPECT_EQ(stream.Push("d").stop, "end");
}

}  // namespace
}  // namespace chela
