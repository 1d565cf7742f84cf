#include "server/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <string>
#include <vector>

#include "models/utf8.h"
#include "tests/server/engine_rig.h"

namespace chela {
namespace {

using test_support::Job;
using test_support::Listener;
using test_support::Rig;
using test_support::RigOptions;
using test_support::StepGate;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int32_t kEos = 257;

// Everything a client can see of its answer but the clock's part.
struct Answer {
  std::string text;
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  FinishReason reason;
  bool operator==(const Answer&) const = default;
};

Answer AnswerOf(Listener& listener) {
  Answer answer;
  answer.reason = listener.Wait().reason;
  answer.text = listener.text();
  answer.tokens = listener.tokens();
  for (const SampledToken& token : listener.sampled()) {
    answer.logprobs.push_back(token.logprob);
    for (const TokenLogprob& top : token.top) {
      answer.logprobs.push_back(top.logprob);
    }
  }
  return answer;
}

// 16 requests of all kinds; the same each time.
GenerateJob MixedJob(const Listener& listener, uint32_t i) {
  constexpr int32_t kPrompts[] = {1, 5, 255, 256, 257, 300, 511, 900};
  GenerateJob job =
      Job(listener, kPrompts[i % 8], static_cast<int32_t>(20 + 7 * i), i);
  job.sampling.temperature = i % 3 == 0 ? 0 : 1 + 0.1 * i;
  job.sampling.top_k = i % 4 == 1 ? 40 : 0;
  job.sampling.top_p = i % 5 == 2 ? 0.9 : 1;
  job.sampling.logprobs = static_cast<int32_t>(i % 3);
  job.ignore_eos = i % 2 == 0;
  if (i % 3 == 1) job.stop = {"e", "zz"};
  return job;
}

constexpr uint32_t kMixedJobs = 16;

std::vector<Answer> AnswersAlone() {
  Rig rig({.slots = 1});
  std::vector<Answer> answers;
  for (uint32_t i = 0; i < kMixedJobs; ++i) {
    Listener listener;
    EXPECT_TRUE(rig.engine->Submit(MixedJob(listener, i)).ok());
    answers.push_back(AnswerOf(listener));
  }
  return answers;
}

TEST(EngineTest, GivesWhatTheModelGivesByHand) {
  Rig by_hand({.slots = 1}, /*start=*/false);
  Rig rig;
  for (const int32_t prompt : {1, 5, 255, 256, 257, 600}) {
    SCOPED_TRACE(prompt);
    Listener listener;
    const GenerateJob job = Job(listener, prompt, 20);
    ASSERT_TRUE(rig.engine->Submit(job).ok());
    const GenerationEnd end = listener.Wait();
    EXPECT_TRUE(end.status.ok()) << end.status;
    EXPECT_EQ(end.reason, FinishReason::kLength);
    EXPECT_EQ(listener.tokens(), by_hand.GenerateByHand(job));
  }
}

TEST(EngineTest, GivesEachOfManyConcurrentRequestsWhatItGivesAlone) {
  const std::vector<Answer> alone = AnswersAlone();
  // All at once, in fewer slots than requests, and where chunks and decoding
  // take turns; on two compute threads as well.
  for (const RigOptions& options :
       {RigOptions{.slots = 16, .limits = {.max_batch_tokens = 1024}},
        RigOptions{.slots = 5, .limits = {.max_batch_tokens = 512}},
        RigOptions{
            .slots = 16, .limits = {.max_batch_tokens = 256}, .threads = 2}}) {
    SCOPED_TRACE(::testing::Message()
                 << options.slots << " slots, "
                 << options.limits.max_batch_tokens << " rows");
    Rig rig(options);
    StepGate gate(*rig.backend);
    std::deque<Listener> listeners(kMixedJobs);
    for (uint32_t i = 0; i < kMixedJobs; ++i) {
      ASSERT_TRUE(rig.engine->Submit(MixedJob(listeners[i], i)).ok());
    }
    gate.Open();
    for (uint32_t i = 0; i < kMixedJobs; ++i) {
      EXPECT_TRUE(AnswerOf(listeners[i]) == alone[i]) << "request " << i;
    }
  }
}

TEST(EngineTest, StartsEverySequenceFromZeroInAUsedSlot) {
  Rig used({.slots = 1});
  Listener first;
  ASSERT_TRUE(used.engine->Submit(Job(first, 300, 50, 1)).ok());
  first.Wait();
  Listener second;
  ASSERT_TRUE(used.engine->Submit(Job(second, 40, 30, 2)).ok());

  Rig fresh({.slots = 1});
  Listener alone;
  ASSERT_TRUE(fresh.engine->Submit(Job(alone, 40, 30, 2)).ok());
  EXPECT_TRUE(AnswerOf(second) == AnswerOf(alone));
}

TEST(EngineTest, GivesOneTokenForMaxTokensOne) {
  Rig rig;
  Listener listener;
  ASSERT_TRUE(rig.engine->Submit(Job(listener, 3, 1)).ok());
  const GenerationEnd end = listener.Wait();
  EXPECT_EQ(end.reason, FinishReason::kLength);
  EXPECT_THAT(listener.tokens(), SizeIs(1));
  EXPECT_EQ(end.usage.generated_tokens, 1);
}

TEST(EngineTest, RepeatsItselfWithASeedAndDiffersWithAnother) {
  Rig rig;
  Listener a, b, c;
  GenerateJob other = Job(c, 20, 40, 1);
  other.sampling.seed = 99;
  ASSERT_TRUE(rig.engine->Submit(Job(a, 20, 40, 1)).ok());
  ASSERT_TRUE(rig.engine->Submit(Job(b, 20, 40, 1)).ok());
  ASSERT_TRUE(rig.engine->Submit(std::move(other)).ok());
  const Answer answer = AnswerOf(a);
  EXPECT_TRUE(AnswerOf(b) == answer);
  EXPECT_NE(AnswerOf(c).tokens, answer.tokens);
}

TEST(EngineTest, EndsAtEosAndReportsItWithoutText) {
  // Nearly uniform sampling: EOS is one token of 258.
  Rig rig;
  Listener past;
  GenerateJob job = Job(past, 8, 3000);
  job.sampling.temperature = 5;
  ASSERT_TRUE(rig.engine->Submit(job).ok());
  const GenerationEnd ignored = past.Wait();
  EXPECT_EQ(ignored.reason, FinishReason::kLength);
  std::vector<int32_t> tokens = past.tokens();
  ASSERT_THAT(tokens, SizeIs(3000));
  const auto eos = std::find(tokens.begin(), tokens.end(), kEos);
  ASSERT_NE(eos, tokens.end()) << "this seed never draws EOS; take another";
  tokens.erase(eos + 1, tokens.end());

  Listener listener;
  job.stream = listener.stream();
  job.ignore_eos = false;
  ASSERT_TRUE(rig.engine->Submit(job).ok());
  const GenerationEnd end = listener.Wait();
  EXPECT_EQ(end.reason, FinishReason::kEos);
  EXPECT_EQ(listener.tokens(), tokens);
  EXPECT_EQ(end.usage.generated_tokens, static_cast<int32_t>(tokens.size()));
  EXPECT_EQ(past.text().compare(0, listener.text().size(), listener.text()), 0);
}

TEST(EngineTest, PutsEosBeforeTheLengthItReaches) {
  Rig rig;
  Listener past;
  GenerateJob job = Job(past, 8, 3000);
  job.sampling.temperature = 5;
  ASSERT_TRUE(rig.engine->Submit(job).ok());
  past.Wait();
  const std::vector<int32_t> tokens = past.tokens();
  const auto eos = std::find(tokens.begin(), tokens.end(), kEos);
  ASSERT_NE(eos, tokens.end());

  Listener listener;
  job.stream = listener.stream();
  job.ignore_eos = false;
  job.max_tokens = static_cast<int32_t>(eos - tokens.begin()) + 1;
  ASSERT_TRUE(rig.engine->Submit(job).ok());
  EXPECT_EQ(listener.Wait().reason, FinishReason::kEos);
}

TEST(EngineTest, EndsAtAStopStringThatSpansTwoTokens) {
  Rig rig;
  Listener whole;
  GenerateJob job = Job(whole, 8, 2000);
  ASSERT_TRUE(rig.engine->Submit(job).ok());
  whole.Wait();
  const std::string text = whole.text();
  const auto letter = [](char c) { return c >= ' ' && c <= '~'; };
  // Each byte is a token of its own: two letters in a row span two.
  size_t at = 10;
  while (at + 1 < text.size() && !(letter(text[at]) && letter(text[at + 1]))) {
    ++at;
  }
  ASSERT_LT(at + 1, text.size());
  const std::string stop = text.substr(at, 2);

  Listener listener;
  job.stream = listener.stream();
  job.stop = {"never in this text", stop};
  ASSERT_TRUE(rig.engine->Submit(job).ok());
  const GenerationEnd end = listener.Wait();
  EXPECT_EQ(end.reason, FinishReason::kStop);
  EXPECT_EQ(end.stop, stop);
  EXPECT_EQ(listener.text(), text.substr(0, text.find(stop)));
  EXPECT_LT(listener.tokens().size(), 2000);
}

TEST(EngineTest, SendsTheTextOfItsTokensAndCountsACharacterCutOff) {
  Rig rig;
  for (uint32_t seed = 0; seed < 8; ++seed) {
    Listener listener;
    ASSERT_TRUE(rig.engine->Submit(Job(listener, 8, 33, seed)).ok());
    const GenerationEnd end = listener.Wait();
    std::string bytes = *rig.tokenizer->Decode(listener.tokens());
    ASSERT_GE(bytes.size(), static_cast<size_t>(end.truncated_bytes));
    bytes.resize(bytes.size() - end.truncated_bytes);
    EXPECT_EQ(listener.text(), ToValidUtf8(bytes));
  }
}

TEST(EngineTest, ReportsLogprobsOnlyAsAskedFor) {
  Rig rig;
  for (const int32_t logprobs : {-1, 0, 3}) {
    Listener listener;
    GenerateJob job = Job(listener, 8, 5);
    job.sampling.logprobs = logprobs;
    ASSERT_TRUE(rig.engine->Submit(job).ok());
    listener.Wait();
    for (const SampledToken& token : listener.sampled()) {
      EXPECT_EQ(token.logprob < 0, logprobs >= 0);
      EXPECT_THAT(token.top, SizeIs(std::max(logprobs, 0)));
    }
  }
}

}  // namespace
}  // namespace chela
