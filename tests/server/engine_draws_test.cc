#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <vector>

#include "tests/server/engine_rig.h"
#include "tests/server/turn_rig.h"

// What the engine does on a backend that draws tokens where the logits are. The
// other tests of the engine run on such a backend too (CMakeLists.txt).

namespace chela {
namespace {

using test_support::Eventually;
using test_support::ExpectSameState;
using test_support::Job;
using test_support::Listener;
using test_support::LookingBack;
using test_support::Prompt;
using test_support::Rig;
using test_support::RunTurn;
using test_support::StepGate;
using test_support::Tokens;
using test_support::TurnAnswer;
using test_support::TurnJob;
using ::testing::SizeIs;

constexpr int64_t kRowBytes = 258 * sizeof(float);

// Requests whose tokens the backend draws, can only draw in part, or cannot.
constexpr uint32_t kJobs = 12;
GenerateJob DrawJob(const Listener& listener, uint32_t i) {
  GenerateJob job = Job(listener, 5 + 50 * static_cast<int32_t>(i % 4), 40, i);
  SamplingParams& sampling = job.sampling;
  sampling.temperature = i % 5 == 0 ? 0 : 0.8 + 0.1 * i;
  if (i % 3 == 0) sampling.top_p = 0.8;
  if (i % 4 == 1) sampling.top_k = 30;
  if (i % 4 == 2) sampling.frequency_penalty = 0.5;
  if (i % 4 == 3) sampling.repetition_penalty = 1.2;
  if (i % 6 == 1) sampling.logit_bias = {{7, 3.0f}, {80, -100.0f}};
  if (i % 6 == 2) sampling.typical_p = 0.7;
  if (i % 6 == 4) sampling.allowed_tokens = {1, 2, 3, 50, 60, 70};
  if (i % 3 == 1) sampling.logprobs = 2;
  if (i == 3) job.prompt_logprobs = 1;
  if (i == 5) job.best_of = job.choices = 3;
  if (i == 9) {
    job.best_of = 4;
    job.choices = 2;
  }
  return job;
}

struct DrawAnswer {
  std::string text;
  Tokens tokens;
  std::vector<float> logprobs;
  bool operator==(const DrawAnswer&) const = default;
};

std::vector<DrawAnswer> DrawAnswers(Rig& rig, bool together) {
  std::deque<Listener> listeners(kJobs);
  std::vector<DrawAnswer> answers;
  if (together) {
    StepGate gate(*rig.backend);
    for (uint32_t i = 0; i < kJobs; ++i) {
      EXPECT_TRUE(rig.engine->Submit(DrawJob(listeners[i], i)).ok());
    }
  }
  for (uint32_t i = 0; i < kJobs; ++i) {
    Listener& listener = listeners[i];
    if (!together) {
      EXPECT_TRUE(rig.engine->Submit(DrawJob(listener, i)).ok());
    }
    EXPECT_TRUE(listener.Wait().status.ok());
    DrawAnswer answer{listener.text(), listener.tokens(), {}};
    for (const SampledToken& token : listener.sampled()) {
      answer.logprobs.push_back(token.logprob);
      for (const TokenLogprob& top : token.top) {
        answer.logprobs.push_back(top.logprob);
      }
    }
    answers.push_back(std::move(answer));
  }
  return answers;
}

class EngineDrawsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (test_support::OnGpu()) GTEST_SKIP() << "draws of a backend on the CPU";
  }
};

TEST_F(EngineDrawsTest, GiveWhatTheHostGivesAloneAndTogether) {
  Rig host({.slots = 4, .draws = false});
  const std::vector<DrawAnswer> wanted = DrawAnswers(host, /*together=*/false);
  Rig alone({.slots = 4, .draws = true});
  EXPECT_TRUE(DrawAnswers(alone, /*together=*/false) == wanted);
  Rig together({.slots = 16, .draws = true});
  EXPECT_TRUE(DrawAnswers(together, /*together=*/true) == wanted);
  // Four of the twelve leave draws to the host: 2 and 8 by typical_p, 4 and 10
  // by allowed_tokens; 5 and 9 have 3 and 4 branches.
  const int64_t drawn = 40 * (kJobs - 4 + 2 + 3);
  EXPECT_EQ(alone.drawing->tokens_drawn(), drawn);
  EXPECT_EQ(together.drawing->tokens_drawn(), drawn);
}

TEST_F(EngineDrawsTest, BringTokensToTheHostAndNoLogits) {
  Rig rig({.draws = true});
  const int64_t before = rig.drawing->bytes_downloaded();
  Listener listener;
  ASSERT_TRUE(rig.engine->Submit(Job(listener, 300, 50)).ok());
  listener.Wait();
  EXPECT_EQ(rig.drawing->bytes_downloaded() - before, 50 * 4);
}

TEST_F(EngineDrawsTest, BringLogitsOfReportedTokens) {
  Rig rig({.draws = true});
  const int64_t before = rig.drawing->bytes_downloaded();
  Listener listener;
  GenerateJob job = Job(listener, 300, 50);
  job.sampling.logprobs = 0;
  ASSERT_TRUE(rig.engine->Submit(std::move(job)).ok());
  listener.Wait();
  EXPECT_EQ(rig.drawing->bytes_downloaded() - before, 50 * (4 + kRowBytes));
}

TEST_F(EngineDrawsTest, BringTheLastLogitsOfATurnAlone) {
  Rig rig({.draws = true});
  const int64_t before = rig.drawing->bytes_downloaded();
  const TurnAnswer turn =
      RunTurn(rig, TurnJob(nullptr, Prompt(20), 30, LookingBack(0)));
  ASSERT_NE(turn.state, nullptr);
  EXPECT_EQ(rig.drawing->bytes_downloaded() - before,
            30 * 4 + kRowBytes + rig.pool->slot_bytes());
  Rig host({.draws = false});
  const TurnAnswer wanted =
      RunTurn(host, TurnJob(nullptr, Prompt(20), 30, LookingBack(0)));
  EXPECT_EQ(turn.tokens, wanted.tokens);
  ExpectSameState(*turn.state, *wanted.state);
}

TEST_F(EngineDrawsTest, DrawOfStoredLogitsWhereATextGoesOnWithoutAToken) {
  Rig rig({.draws = true});
  // No tokens: the state ends with the prompt, and its logits are stored.
  const TurnAnswer read =
      RunTurn(rig, TurnJob(nullptr, Prompt(20), 0, LookingBack(0)));
  ASSERT_NE(read.state, nullptr);
  ASSERT_FALSE(read.state->pending.has_value());
  EXPECT_EQ(rig.drawing->tokens_drawn(), 0);
  const TurnAnswer turn =
      RunTurn(rig, TurnJob(read.state, {}, 25, LookingBack(0)));
  EXPECT_EQ(rig.drawing->tokens_drawn(), 25);
  Rig whole({.draws = true});
  EXPECT_EQ(
      RunTurn(whole, TurnJob(nullptr, Prompt(20), 25, LookingBack(0))).tokens,
      turn.tokens);
}

TEST_F(EngineDrawsTest, FailLikeAnyStepWhereTheBackendFails) {
  Rig rig({.draws = true});
  rig.backend->SetHook(
      [](const StepRows&) { return absl::UnavailableError("lost"); });
  Listener listener;
  ASSERT_TRUE(rig.engine->Submit(Job(listener, 5, 50)).ok());
  EXPECT_EQ(listener.Wait().status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(listener.tokens(), SizeIs(0));
  EXPECT_TRUE(Eventually([&rig] { return rig.faults == 1; }));
}

}  // namespace
}  // namespace chela
