// A text that stops and goes on later, from its kept state: the same tokens,
// bits and text as without the stop.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "server/engine/engine.h"
#include "tests/server/engine_rig.h"
#include "tests/server/turn_rig.h"

namespace chela {
namespace {

using test_support::ExpectSameState;
using test_support::ExpectSameText;
using test_support::Greedy;
using test_support::kOtherPieces;
using test_support::Listener;
using test_support::LookingBack;
using test_support::OnGpu;
using test_support::Prompt;
using test_support::Rig;
using test_support::RunTurn;
using test_support::Tokens;
using test_support::TurnAnswer;
using test_support::TurnJob;

class EngineTurnsTest : public testing::TestWithParam<LongConvKind> {
 protected:
  Rig rig_{{.slots = 6, .kind = GetParam()}};
};
INSTANTIATE_TEST_SUITE_P(Kinds, EngineTurnsTest,
                         testing::Values(LongConvKind::kHierarchical,
                                         LongConvKind::kExplicit),
                         [](const auto& param) {
                           return param.param == LongConvKind::kExplicit
                                      ? "Explicit"
                                      : "Hierarchical";
                         });

TEST_P(EngineTurnsTest, ResumingGivesWhatAnUninterruptedRunGives) {
  for (const SamplingParams& sampling :
       {Greedy(), LookingBack(0), LookingBack(7), LookingBack(150)}) {
    SCOPED_TRACE(sampling.penalty_window);
    for (const int32_t prompt : {1, 40, 256, 300}) {
      const TurnAnswer whole =
          RunTurn(rig_, TurnJob(nullptr, Prompt(prompt), 200, sampling));
      const TurnAnswer first =
          RunTurn(rig_, TurnJob(nullptr, Prompt(prompt), 100, sampling));
      TurnAnswer second =
          RunTurn(rig_, TurnJob(first.state, {}, 100, sampling));
      Tokens tokens = first.tokens;
      tokens.insert(tokens.end(), second.tokens.begin(), second.tokens.end());
      EXPECT_EQ(tokens, whole.tokens);
      EXPECT_EQ(first.text + second.text, whole.text);
      ASSERT_NE(second.state, nullptr);
      EXPECT_EQ(second.state->tokens(), prompt + 200);
      ExpectSameState(*second.state, *whole.state);
    }
  }
}

TEST_P(EngineTurnsTest, ResumingInManyPiecesChangesNothing) {
  const SamplingParams sampling = LookingBack(20);
  const TurnAnswer whole =
      RunTurn(rig_, TurnJob(nullptr, Prompt(9), 150, sampling));
  TurnAnswer piece = RunTurn(rig_, TurnJob(nullptr, Prompt(9), 0, sampling));
  EXPECT_TRUE(piece.tokens.empty());
  EXPECT_FALSE(piece.state->pending.has_value());
  Tokens tokens;
  std::string text;
  for (int32_t size = 1; tokens.size() < 150; size = size % 17 + 1) {
    const auto left = static_cast<int32_t>(150 - tokens.size());
    piece =
        RunTurn(rig_, TurnJob(piece.state, {}, std::min(size, left), sampling));
    tokens.insert(tokens.end(), piece.tokens.begin(), piece.tokens.end());
    text += piece.text;
  }
  EXPECT_EQ(tokens, whole.tokens);
  EXPECT_EQ(text, whole.text);
  ExpectSameState(*piece.state, *whole.state);
}

TEST_P(EngineTurnsTest, ANewTurnGivesWhatOneLongPromptGives) {
  const SamplingParams sampling = LookingBack(0);
  const TurnAnswer first =
      RunTurn(rig_, TurnJob(nullptr, Prompt(200), 90, Greedy()));
  for (const int32_t more : {1, 30, 700}) {
    const Tokens addition = Prompt(more, 77);
    const TurnAnswer second =
        RunTurn(rig_, TurnJob(first.state, addition, 60, sampling));
    Tokens all = Prompt(200);
    all.insert(all.end(), first.tokens.begin(), first.tokens.end());
    all.insert(all.end(), addition.begin(), addition.end());
    const TurnAnswer whole = RunTurn(rig_, TurnJob(nullptr, all, 60, sampling));
    EXPECT_EQ(second.tokens, whole.tokens);
    EXPECT_EQ(second.text, whole.text);
    ExpectSameText(*second.state, *whole.state);
  }
}

// Both forms of the same text: its last token pending, or fed.
TEST_P(EngineTurnsTest, PendingAndFedTextsGoOnAlike) {
  const SamplingParams sampling = LookingBack(0);
  const TurnAnswer pending =
      RunTurn(rig_, TurnJob(nullptr, Prompt(20), 50, sampling));
  ASSERT_TRUE(pending.state->pending.has_value());
  const TurnAnswer fed = RunTurn(rig_, TurnJob(pending.state, {}, 0, sampling));
  ASSERT_FALSE(fed.state->pending.has_value());
  EXPECT_EQ(fed.state->tokens(), pending.state->tokens());
  EXPECT_EQ(fed.state->token_hash, pending.state->token_hash);
  EXPECT_EQ(fed.state->sampler, pending.state->sampler);
  EXPECT_EQ(fed.state->text, pending.state->text);
  for (const Tokens& addition : {Tokens(), Tokens{65}, Prompt(300, 5)}) {
    const TurnAnswer a =
        RunTurn(rig_, TurnJob(pending.state, addition, 40, sampling));
    const TurnAnswer b =
        RunTurn(rig_, TurnJob(fed.state, addition, 40, sampling));
    EXPECT_EQ(a.tokens, b.tokens);
    EXPECT_EQ(a.text, b.text);
    ExpectSameState(*a.state, *b.state);
  }
}

TEST_P(EngineTurnsTest, ForksAreIndependentAndLeaveOthersAlone) {
  SamplingParams sampling = LookingBack(0);
  const TurnAnswer shared =
      RunTurn(rig_, TurnJob(nullptr, Prompt(100), 0, sampling));
  std::vector<Tokens> alone;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    sampling.seed = seed;
    alone.push_back(
        RunTurn(rig_, TurnJob(shared.state, {}, 60, sampling)).tokens);
  }
  EXPECT_NE(alone[0], alone[1]);
  // All at once, beside a text of its own.
  std::vector<Listener> listeners(5);
  Listener other;
  GenerateJob beside = test_support::Job(other, 300, 100);
  ASSERT_TRUE(rig_.engine->Submit(beside).ok());
  for (uint64_t seed = 0; seed < 5; ++seed) {
    sampling.seed = seed;
    GenerateJob job = TurnJob(shared.state, {}, 60, sampling);
    job.stream = listeners[seed].stream();
    ASSERT_TRUE(rig_.engine->Submit(std::move(job)).ok());
  }
  for (uint64_t seed = 0; seed < 5; ++seed) {
    EXPECT_TRUE(listeners[seed].Wait().status.ok());
    EXPECT_EQ(listeners[seed].tokens(), alone[seed]);
  }
  other.Wait();
  Listener again;
  ASSERT_TRUE(rig_.engine->Submit(test_support::Job(again, 300, 100)).ok());
  again.Wait();
  EXPECT_EQ(other.tokens(), again.tokens());
}

double RowNorm(const SequenceState& state) {
  double squares = 0;
  for (const float logit : state.logits) squares += double{logit} * logit;
  return std::sqrt(squares);
}

TEST_P(EngineTurnsTest, PromptLogprobsGoOnFromTheEarlierText) {
  const TurnAnswer first =
      RunTurn(rig_, TurnJob(nullptr, Prompt(30), 20, Greedy()));
  const TurnAnswer fed = RunTurn(rig_, TurnJob(first.state, {}, 0, Greedy()));
  const Tokens addition = Prompt(10, 3);
  Tokens all = Prompt(30);
  all.insert(all.end(), first.tokens.begin(), first.tokens.end());
  all.insert(all.end(), addition.begin(), addition.end());
  GenerateJob long_job = TurnJob(nullptr, all, 1, Greedy());
  long_job.prompt_logprobs = 2;
  const TurnAnswer whole = RunTurn(rig_, std::move(long_job));
  for (const SequenceStatePtr& start : {first.state, fed.state}) {
    GenerateJob job = TurnJob(start, addition, 1, Greedy());
    job.prompt_logprobs = 2;
    const TurnAnswer second = RunTurn(rig_, std::move(job));
    ASSERT_EQ(second.prompt.size(), 10u);
    for (size_t i = 0; i < 10; ++i) {
      EXPECT_EQ(second.prompt[i].token, addition[i]);
      // A logit moves by less than the whole row.
      EXPECT_NEAR(second.prompt[i].logprob, whole.prompt[50 + i].logprob,
                  OnGpu() ? 2 * kOtherPieces * RowNorm(*whole.state) : 0);
      EXPECT_EQ(second.prompt[i].top.size(), 2u);
    }
  }
}

// A character that a turn's last token left unfinished is text of the next.
TEST_P(EngineTurnsTest, AnUnfinishedCharacterGoesOn) {
  SamplingParams sampling;
  const Tokens euro = {0xE2, 0x82, 0xAC};
  TurnAnswer turn = RunTurn(rig_, TurnJob(nullptr, Prompt(4), 0, sampling));
  std::string text;
  int32_t cut = 0;
  for (const int32_t token : euro) {
    sampling.allowed_tokens = {token};
    turn = RunTurn(rig_, TurnJob(turn.state, {}, 1, sampling));
    text += turn.text;
    cut = (cut + 1) % 3;
    EXPECT_EQ(turn.end.truncated_bytes, cut);
  }
  EXPECT_EQ(text, "\xE2\x82\xAC");
  EXPECT_EQ(turn.state->text.tail, "\xE2\x82\xAC");
}

TEST_P(EngineTurnsTest, ACancelledTurnHasNoState) {
  Listener listener;
  GenerateJob job = TurnJob(nullptr, Prompt(4), 60000, Greedy());
  job.stream = listener.stream();
  ASSERT_TRUE(rig_.engine->Submit(std::move(job)).ok());
  listener.WaitForTokens(3);
  listener.stream()->Cancel();
  const GenerationEnd end = listener.Wait();
  EXPECT_EQ(end.reason, FinishReason::kCancelled);
  EXPECT_EQ(end.state, nullptr);
}

// A slot's parts that a short text never reads are its own too.
TEST_P(EngineTurnsTest, AStateHoldsNothingOfTheSlotsLastOwner) {
  Rig used({.slots = 1, .kind = GetParam()});
  RunTurn(used, TurnJob(nullptr, Prompt(400, 9), 50, Greedy()));
  const TurnAnswer after =
      RunTurn(used, TurnJob(nullptr, Prompt(3), 2, Greedy()));
  Rig fresh({.slots = 1, .kind = GetParam()});
  const TurnAnswer first =
      RunTurn(fresh, TurnJob(nullptr, Prompt(3), 2, Greedy()));
  ExpectSameState(*after.state, *first.state);
  // Nor what a free slot is filled with.
  for (size_t i = 0; i < first.state->state.size(); i += sizeof(float)) {
    float value = 0;
    std::memcpy(&value, &first.state->state[i], sizeof(value));
    ASSERT_FALSE(std::isnan(value)) << "float " << i / sizeof(float);
  }
}

// Where a turn ends anywhere in a period of attention replay.
TEST(EngineReplayTurnsTest, ResumingGivesWhatAnUninterruptedRunGives) {
  Rig rig({.slots = 6, .attention_replay = 7});
  const SamplingParams sampling = LookingBack(7);
  for (const int32_t prompt : {1, 40, 300}) {
    const TurnAnswer whole =
        RunTurn(rig, TurnJob(nullptr, Prompt(prompt), 60, sampling));
    for (const int32_t cut : {1, 2, 3, 10, 29, 30, 31, 32, 33, 34, 35}) {
      SCOPED_TRACE(cut);
      const TurnAnswer first =
          RunTurn(rig, TurnJob(nullptr, Prompt(prompt), cut, sampling));
      const TurnAnswer second =
          RunTurn(rig, TurnJob(first.state, {}, 60 - cut, sampling));
      Tokens tokens = first.tokens;
      tokens.insert(tokens.end(), second.tokens.begin(), second.tokens.end());
      EXPECT_EQ(tokens, whole.tokens);
      ASSERT_NE(second.state, nullptr);
      ExpectSameState(*second.state, *whole.state);
    }
  }
}

}  // namespace
}  // namespace chela
