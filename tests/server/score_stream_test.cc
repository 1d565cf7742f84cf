#include "server/engine/score_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "tests/server/prefix_tree_rig.h"

namespace chela {
namespace {

using test_support::Count;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ScoreStreamTest, KnowsItsCandidatesFromTheStart) {
  const ScoreStream stream({1, 2}, {{3}, {4, 5}});
  EXPECT_FALSE(stream.in_pieces());
  EXPECT_THAT(stream.prefix(), ElementsAre(1, 2));
  EXPECT_THAT(stream.continuations(),
              ElementsAre(ElementsAre(3), ElementsAre(4, 5)));
  EXPECT_FALSE(stream.Result().has_value());
}

TEST(ScoreStreamTest, HandsOutPiecesInOrderUpToTheLimit) {
  ScoreStream stream;
  EXPECT_TRUE(stream.in_pieces());
  stream.Append({1, 2, 3});
  stream.Append({});
  stream.Append({4, 5});
  EXPECT_EQ(stream.backlog(), 5);
  EXPECT_THAT(stream.Take(4), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(stream.Take(4), ElementsAre(5));
  EXPECT_THAT(stream.Take(4), IsEmpty());
  EXPECT_EQ(stream.backlog(), 0);
}

TEST(ScoreStreamTest, IsFinishedOnlyOnceEverythingWasTaken) {
  ScoreStream stream;
  stream.Append({1});
  EXPECT_FALSE(stream.finished());
  stream.Finish();
  EXPECT_FALSE(stream.finished());
  stream.Take(1);
  EXPECT_TRUE(stream.finished());
}

TEST(ScoreStreamTest, CallsBackWhenTheBacklogFallsBelowHalf) {
  ScoreStream stream;
  int calls = 0;
  stream.SetCallback([&calls] { ++calls; });
  constexpr int64_t kHalf = ScoreStream::kBacklogTokens / 2;
  stream.Append(Count(0, kHalf + 10));
  stream.Take(10);
  EXPECT_EQ(calls, 0);  // Exactly half is left.
  stream.Take(1);
  EXPECT_EQ(calls, 1);
  stream.Take(100);
  EXPECT_EQ(calls, 1);
  stream.Append(Count(0, kHalf));
  stream.Take(kHalf);
  EXPECT_EQ(calls, 2);
}

TEST(ScoreStreamTest, ReportsItsEndOnceAndCallsBack) {
  ScoreStream stream;
  int calls = 0;
  stream.SetCallback([&calls] { ++calls; });
  ScoreStream::End end;
  end.totals.tokens = 7;
  stream.Close(std::move(end));
  EXPECT_EQ(calls, 1);
  ASSERT_TRUE(stream.Result().has_value());
  EXPECT_EQ(stream.Result()->totals.tokens, 7);
}

TEST(ScoreStreamTest, KeepsNothingThatArrivesAfterTheEnd) {
  ScoreStream stream;
  stream.Append({1, 2, 3});
  stream.Close({});
  EXPECT_EQ(stream.backlog(), 0);
  stream.Append({4, 5});
  EXPECT_EQ(stream.backlog(), 0);
}

TEST(ScoreStreamTest, WakesTheEngineForTokensTheFinishAndACancel) {
  auto wake = std::make_shared<WakeSignal>();
  WakeSignal::Sleeper sleeper(*wake);
  ScoreStream stream;
  stream.SetWake(wake);
  // Each Wait returns only because of the call before it.
  stream.Append({1});
  sleeper.Wait(std::nullopt);
  stream.Finish();
  sleeper.Wait(std::nullopt);
  stream.Cancel();
  sleeper.Wait(std::nullopt);
  EXPECT_TRUE(stream.cancelled());
}

TEST(ScoreStreamTest, RemembersTheFirstCancel) {
  ScoreStream stream;
  stream.Cancel();
  const Clock::time_point first = stream.cancelled_at();
  stream.Cancel();
  EXPECT_EQ(stream.cancelled_at(), first);
}

TEST(ScoreStreamTest, IgnoresACancelAfterTheEnd) {
  ScoreStream stream({}, {{1}});
  stream.Close({});
  stream.Cancel();
  EXPECT_FALSE(stream.cancelled());
}

TEST(ScoreStreamTest, DropsItsCallbackAtTheClose) {
  auto stream = std::make_shared<ScoreStream>();
  const std::weak_ptr<ScoreStream> alive = stream;
  stream->SetCallback([stream] {});  // A cycle.
  stream->Close({});
  stream.reset();
  EXPECT_TRUE(alive.expired());
}

TEST(ScoreStreamTest, LosesNothingBetweenTwoThreads) {
  ScoreStream stream;
  constexpr int32_t kTokens = 20000;
  std::thread client([&stream] {
    for (int32_t i = 0; i < kTokens; i += 100) stream.Append(Count(i, 100));
    stream.Finish();
  });
  std::vector<int32_t> got;
  while (!stream.finished()) {
    for (const int32_t token : stream.Take(257)) got.push_back(token);
  }
  client.join();
  EXPECT_EQ(got, Count(0, kTokens));
}

}  // namespace
}  // namespace chela
