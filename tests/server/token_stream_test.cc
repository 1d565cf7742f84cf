#include "server/engine/token_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace chela {
namespace {

GenerationDelta Delta(std::string text, std::vector<int32_t> tokens) {
  GenerationDelta delta;
  delta.text = std::move(text);
  for (const int32_t token : tokens) {
    delta.tokens.emplace_back();
    delta.tokens.back().token = token;
  }
  return delta;
}

std::vector<int32_t> Ids(const GenerationDelta& delta) {
  std::vector<int32_t> ids;
  for (const SampledToken& token : delta.tokens) ids.push_back(token.token);
  return ids;
}

GenerationEnd EndWith(FinishReason reason) {
  GenerationEnd end;
  end.reason = reason;
  return end;
}

TEST(TokenStreamTest, IsEmptyAndOpenAtFirst) {
  TokenStream stream;
  EXPECT_TRUE(stream.Pop().empty());
  EXPECT_FALSE(stream.End().has_value());
  EXPECT_FALSE(stream.cancelled());
}

TEST(TokenStreamTest, MergesWhatASlowReaderLeftLying) {
  TokenStream stream;
  stream.Push(Delta("ab", {1, 2}));
  stream.Push(Delta("", {3}));
  stream.Push(Delta("c", {4}));
  const GenerationDelta got = stream.Pop();
  EXPECT_EQ(got.text, "abc");
  EXPECT_EQ(Ids(got), (std::vector<int32_t>{1, 2, 3, 4}));
  EXPECT_TRUE(stream.Pop().empty());
}

TEST(TokenStreamTest, KeepsChoicesApartAndGivesTheOldestNewsFirst) {
  TokenStream stream;
  const auto push = [&stream](int32_t choice, std::string text) {
    GenerationDelta delta = Delta(std::move(text), {choice});
    delta.choice = choice;
    stream.Push(std::move(delta));
  };
  push(2, "a");
  push(0, "b");
  push(2, "c");
  GenerationDelta ended;
  ended.end = EndWith(FinishReason::kEos);
  stream.Push(std::move(ended));
  const GenerationDelta first = stream.Pop();
  EXPECT_EQ(first.choice, 2);
  EXPECT_EQ(first.text, "ac");
  EXPECT_FALSE(first.end.has_value());
  const GenerationDelta second = stream.Pop();
  EXPECT_EQ(second.text, "b");
  ASSERT_TRUE(second.end.has_value());
  EXPECT_EQ(second.end->reason, FinishReason::kEos);
  EXPECT_TRUE(stream.Pop().empty());
}

TEST(TokenStreamTest, ShowsItsEndOnlyAfterEverythingWasPopped) {
  TokenStream stream;
  stream.Push(Delta("a", {1}));
  stream.Close(EndWith(FinishReason::kLength));
  EXPECT_FALSE(stream.End().has_value());
  EXPECT_EQ(stream.Pop().text, "a");
  ASSERT_TRUE(stream.End().has_value());
  EXPECT_EQ(stream.End()->reason, FinishReason::kLength);
}

TEST(TokenStreamTest, CallsBackAfterEachPushAndTheClose) {
  TokenStream stream;
  int calls = 0;
  stream.SetCallback([&calls] { ++calls; });
  stream.Push(Delta("a", {1}));
  stream.Push(Delta("", {}));  // Nothing to fetch, nothing to tell.
  EXPECT_EQ(calls, 1);
  stream.Close(EndWith(FinishReason::kEos));
  EXPECT_EQ(calls, 2);
}

TEST(TokenStreamTest, MayBeReadFromItsOwnCallback) {
  TokenStream stream;
  std::string text;
  bool ended = false;
  stream.SetCallback([&] {
    text += stream.Pop().text;
    ended = stream.End().has_value();
  });
  stream.Push(Delta("a", {1}));
  stream.Push(Delta("b", {2}));
  stream.Close(EndWith(FinishReason::kEos));
  EXPECT_EQ(text, "ab");
  EXPECT_TRUE(ended);
}

TEST(TokenStreamTest, DropsItsCallbackAtTheClose) {
  auto stream = std::make_shared<TokenStream>();
  const std::weak_ptr<TokenStream> alive = stream;
  stream->SetCallback([stream] {});  // A cycle.
  stream->Close(EndWith(FinishReason::kEos));
  stream.reset();
  EXPECT_TRUE(alive.expired());
}

TEST(TokenStreamTest, RemembersTheFirstCancelAndWakesTheEngine) {
  TokenStream stream;
  auto wake = std::make_shared<WakeSignal>();
  stream.SetWake(wake);
  const Clock::time_point before = Clock::now();
  stream.Cancel();
  const Clock::time_point first = stream.cancelled_at();
  stream.Cancel();
  EXPECT_TRUE(stream.cancelled());
  EXPECT_EQ(stream.cancelled_at(), first);
  EXPECT_GE(first, before);
  WakeSignal::Sleeper(*wake).Wait(
      std::nullopt);  // Returns: the cancel was not lost.
}

TEST(TokenStreamTest, IgnoresACancelAfterTheEnd) {
  TokenStream stream;
  stream.Close(EndWith(FinishReason::kEos));
  stream.Cancel();
  EXPECT_FALSE(stream.cancelled());
}

TEST(TokenStreamTest, MayBeCancelledWhenTheEngineIsGone) {
  TokenStream stream;
  stream.SetWake(std::make_shared<WakeSignal>());
  stream.Cancel();
  EXPECT_TRUE(stream.cancelled());
}

TEST(TokenStreamTest, LosesNothingBetweenTwoThreads) {
  TokenStream stream;
  constexpr int32_t kTokens = 5000;
  std::thread engine([&stream] {
    for (int32_t i = 0; i < kTokens; ++i) stream.Push(Delta("x", {i}));
    stream.Close(EndWith(FinishReason::kLength));
  });
  std::vector<int32_t> got;
  std::string text;
  while (!stream.End().has_value()) {
    const GenerationDelta delta = stream.Pop();
    text += delta.text;
    for (const int32_t id : Ids(delta)) got.push_back(id);
    std::this_thread::yield();
  }
  engine.join();
  ASSERT_EQ(got.size(), kTokens);
  EXPECT_EQ(text.size(), kTokens);
  for (int32_t i = 0; i < kTokens; ++i) ASSERT_EQ(got[i], i);
}

TEST(WakeSignalTest, ReturnsAtItsDeadline) {
  WakeSignal wake;
  const Clock::time_point deadline =
      Clock::now() + std::chrono::milliseconds(5);
  WakeSignal::Sleeper(wake).Wait(deadline);
  EXPECT_GE(Clock::now(), deadline);
}

TEST(WakeSignalTest, CountsSeveralNotificationsAsOne) {
  WakeSignal wake;
  WakeSignal::Sleeper sleeper(wake);
  wake.Notify();
  wake.Notify();
  sleeper.Wait(std::nullopt);
  const Clock::time_point deadline =
      Clock::now() + std::chrono::milliseconds(5);
  sleeper.Wait(deadline);
  EXPECT_GE(Clock::now(), deadline);
}

TEST(WakeSignalTest, WakesEveryThreadThatWaits) {
  WakeSignal wake;
  WakeSignal::Sleeper one(wake);
  WakeSignal::Sleeper two(wake);
  wake.Notify();
  one.Wait(std::nullopt);
  two.Wait(std::nullopt);  // Returns: `one` did not take it away.
}

TEST(FinishReasonTest, HasTheNamesOfTheContract) {
  EXPECT_STREQ(Name(FinishReason::kStop), "stop");
  EXPECT_STREQ(Name(FinishReason::kLength), "length");
  EXPECT_STREQ(Name(FinishReason::kEos), "eos");
  EXPECT_STREQ(Name(FinishReason::kCancelled), "cancelled");
  EXPECT_STREQ(Name(FinishReason::kDeadline), "deadline");
  EXPECT_STREQ(Name(FinishReason::kError), "error");
}

}  // namespace
}  // namespace chela
