#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <numeric>
#include <vector>

#include "server/engine/engine.h"
#include "tests/server/engine_rig.h"

namespace chela {
namespace {

using std::chrono::milliseconds;
using test_support::Eventually;
using test_support::Job;
using test_support::Listener;
using test_support::Prompt;
using test_support::Recorder;
using test_support::Rig;
using test_support::ScoreCandidates;
using test_support::ScorePieces;
using test_support::StepGate;
using test_support::Tokens;
using test_support::WaitFor;
using ::testing::HasSubstr;

TEST(EngineScorePiecesTest, GivesASlotToTheNextRequestWhenAScoreEndsUnread) {
  Rig rig({.slots = 1});
  const auto silent = std::make_shared<ScoreStream>();
  ASSERT_TRUE(rig.engine->Submit(Job(silent)).ok());
  Listener listener;
  ASSERT_TRUE(rig.engine->Submit(Job(listener, 3, 2)).ok());
  silent->Finish();
  EXPECT_EQ(listener.Wait().reason, FinishReason::kLength);
}

TEST(EngineScorePiecesTest, ScoresATextInPiecesAsTheModelDoesByHand) {
  Rig by_hand({.slots = 1}, /*start=*/false);
  Rig rig;
  for (const int32_t size : {2, 256, 257, 258, 700}) {
    const Tokens text = Prompt(size, 8);
    const auto scores = by_hand.ScoreByHand({}, text);
    const double want = std::accumulate(scores.begin(), scores.end(), 0.0);
    for (const size_t piece : {1, 7, 256, 1000}) {
      SCOPED_TRACE(::testing::Message() << size << " in pieces of " << piece);
      const auto end = ScorePieces(rig, text, piece);
      ASSERT_TRUE(end.status.ok()) << end.status;
      EXPECT_EQ(end.totals.tokens, size);
      EXPECT_EQ(end.totals.scored_tokens, size - 1);
      // The same splits and the same order of adding: the same bits.
      EXPECT_EQ(end.totals.log_probability, want);
    }
  }
}

TEST(EngineScorePiecesTest, ScoresNothingOfATextOfOneTokenOrNone) {
  Rig rig;
  EXPECT_TRUE(ScorePieces(rig, {}, 1).status.ok());
  const auto end = ScorePieces(rig, {256}, 1);
  EXPECT_TRUE(end.status.ok());
  EXPECT_EQ(end.totals.tokens, 1);
  EXPECT_EQ(end.totals.scored_tokens, 0);
}

TEST(EngineScorePiecesTest, TakesNoMoreThanAChunkAheadOfWhatItRuns) {
  Rig rig;
  StepGate gate(*rig.backend);
  const auto stream = std::make_shared<ScoreStream>();
  ASSERT_TRUE(rig.engine->Submit(Job(stream)).ok());
  stream->Append(Prompt(1000));
  gate.WaitUntilHeld();
  EXPECT_EQ(stream->backlog(), 1000 - (kChunkTokens + 1));
  stream->Finish();
  gate.Open();
  EXPECT_EQ(WaitFor(*stream).totals.tokens, 1000);
}

TEST(EngineScorePiecesTest, TakesPartInNoStepWhileItWaitsForInput) {
  Rig rig({.slots = 2});
  const auto stream = std::make_shared<ScoreStream>();
  ASSERT_TRUE(rig.engine->Submit(Job(stream)).ok());
  stream->Append(Prompt(100));  // Less than a chunk: it waits.
  ASSERT_TRUE(Eventually([&] { return stream->backlog() == 0; }));
  Recorder recorder(*rig.backend);
  Listener listener;
  ASSERT_TRUE(rig.engine->Submit(Job(listener, 10, 5)).ok());
  listener.Wait();
  EXPECT_EQ(recorder.rows(), 10 + 4);
  EXPECT_EQ(rig.engine->Load().running, 1);
  stream->Finish();
  EXPECT_EQ(WaitFor(*stream).totals.scored_tokens, 99);
}

TEST(EngineScorePiecesTest, FreesTheSlotOfASilentScoreThatIsCancelled) {
  Rig rig({.slots = 1});
  const auto stream = std::make_shared<ScoreStream>();
  ASSERT_TRUE(rig.engine->Submit(Job(stream)).ok());
  ASSERT_TRUE(Eventually([&] { return rig.engine->Load().running == 1; }));
  stream->Cancel();
  EXPECT_EQ(WaitFor(*stream).status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(rig.engine->Load().slots_free, 1);
  EXPECT_EQ(rig.Metric("chela_cancel_to_free_seconds_count"), 1);
}

TEST(EngineScorePiecesTest, EndsASilentScoreAtItsDeadlineWithWhatItHas) {
  Rig rig;
  const auto stream = std::make_shared<ScoreStream>();
  ScoreJob job = Job(stream);
  job.header.deadline = Clock::now() + milliseconds(100);
  stream->Append(Prompt(300));
  ASSERT_TRUE(rig.engine->Submit(std::move(job)).ok());
  const auto end = WaitFor(*stream);
  EXPECT_EQ(end.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(end.totals.tokens, 300);
  EXPECT_EQ(end.totals.scored_tokens, kChunkTokens);
}

TEST(EngineScorePiecesTest, RefusesAPieceOutsideTheVocabulary) {
  Rig rig;
  const auto end = ScorePieces(rig, {1, 2, 400}, 3);
  EXPECT_EQ(end.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(end.status.message()), HasSubstr("400"));
  EXPECT_EQ(rig.engine->Load().slots_free, 4);
}

TEST(EngineScorePiecesTest, ChangesNothingBesideGenerations) {
  const Tokens text = Prompt(900, 11);
  const std::vector<Tokens> after = {Prompt(40, 12), Prompt(270, 13)};
  Rig alone({.slots = 2});
  const auto pieces_alone = ScorePieces(alone, text, 100);
  const auto candidates_alone = ScoreCandidates(alone, Prompt(300, 14), after);
  Listener one;
  ASSERT_TRUE(alone.engine->Submit(Job(one, 300, 100)).ok());
  one.Wait();

  Rig rig({.slots = 8, .limits = {.max_batch_tokens = 300}});
  StepGate gate(*rig.backend);
  std::deque<Listener> listeners(4);
  for (Listener& listener : listeners) {
    ASSERT_TRUE(rig.engine->Submit(Job(listener, 300, 100)).ok());
  }
  const auto pieces = std::make_shared<ScoreStream>();
  ASSERT_TRUE(rig.engine->Submit(Job(pieces)).ok());
  const auto candidates = std::make_shared<ScoreStream>(Prompt(300, 14), after);
  ASSERT_TRUE(rig.engine->Submit(Job(candidates)).ok());
  pieces->Append(text);
  pieces->Finish();
  gate.Open();
  EXPECT_EQ(WaitFor(*pieces).totals.log_probability,
            pieces_alone.totals.log_probability);
  EXPECT_EQ(WaitFor(*candidates).continuations, candidates_alone.continuations);
  for (Listener& listener : listeners) {
    listener.Wait();
    EXPECT_EQ(listener.tokens(), one.tokens());
  }
}

}  // namespace
}  // namespace chela
