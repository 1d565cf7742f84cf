#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "server/engine/engine.h"
#include "tests/server/engine_rig.h"

namespace chela {
namespace {

using test_support::Eventually;
using test_support::Job;
using test_support::Listener;
using test_support::Recorder;
using test_support::Rig;
using ::testing::ElementsAre;
using ::testing::SizeIs;

struct Choice {
  std::string text;
  std::vector<int32_t> tokens;
  ChoiceEnd end;
};

// An answer with several choices, read once it has ended.
struct ChoicesAnswer {
  std::map<int32_t, Choice> choices;
  std::vector<SampledToken> prompt;
  GenerationEnd end;
};

ChoicesAnswer RunChoices(Rig& rig, GenerateJob job) {
  job.stream = std::make_shared<TokenStream>();
  const auto stream = job.stream;
  const absl::Status submitted = rig.engine->Submit(std::move(job));
  EXPECT_TRUE(submitted.ok()) << submitted;
  ChoicesAnswer answer;
  if (!submitted.ok()) return answer;
  EXPECT_TRUE(Eventually([&] {
    for (;;) {
      GenerationDelta delta = stream->Pop();
      if (delta.empty()) break;
      Choice& choice = answer.choices[delta.choice];
      choice.text += delta.text;
      for (const SampledToken& token : delta.tokens) {
        choice.tokens.push_back(token.token);
      }
      for (SampledToken& token : delta.prompt) answer.prompt.push_back(token);
      if (delta.end.has_value()) choice.end = *delta.end;
    }
    return stream->End().has_value();
  }));
  answer.end = stream->End().value_or(GenerationEnd());
  answer.choices[answer.end.choice].end = answer.end;
  return answer;
}

GenerateJob PlainJob(int32_t prompt, int32_t max_tokens, uint32_t seed = 1) {
  Listener unused;
  return Job(unused, prompt, max_tokens, seed);
}

TEST(EngineChoicesTest, DrawsEachChoiceWithABranchOfItsOwnFromOnePrefill) {
  Rig by_hand({.slots = 1}, /*start=*/false);
  Rig rig({.slots = 4});
  for (const int32_t prompt : {1, 5, 256, 300}) {
    SCOPED_TRACE(prompt);
    GenerateJob job = PlainJob(prompt, 12);
    job.choices = job.best_of = 4;
    Recorder recorder(*rig.backend);
    const double read = rig.Metric("chela_prompt_tokens_total");
    const ChoicesAnswer answer = RunChoices(rig, job);
    ASSERT_THAT(answer.choices, SizeIs(4));
    for (const auto& [index, choice] : answer.choices) {
      EXPECT_EQ(choice.tokens,
                by_hand.GenerateByHand(job, static_cast<uint32_t>(index)));
      EXPECT_EQ(choice.end.reason, FinishReason::kLength);
    }
    EXPECT_EQ(recorder.rows(), prompt + 4 * 11);
    EXPECT_EQ(answer.end.usage.prompt_tokens, prompt);
    EXPECT_EQ(answer.end.usage.generated_tokens, 4 * 12);
    EXPECT_EQ(rig.Metric("chela_prompt_tokens_total") - read, prompt);
  }
  EXPECT_EQ(rig.Metric("chela_generated_tokens_total"), 4 * 4 * 12);
  EXPECT_EQ(rig.Metric("chela_finished_total", ",reason=\"length\""), 16);
  EXPECT_EQ(rig.engine->Load().slots_free, 4);
}

TEST(EngineChoicesTest, ReturnsTheLikeliestOfBestOfInOrder) {
  Rig rig({.slots = 6});
  GenerateJob all = PlainJob(20, 15);
  all.sampling.logprobs = 0;
  all.choices = all.best_of = 6;
  const ChoicesAnswer every = RunChoices(rig, all);
  std::vector<int32_t> order = {0, 1, 2, 3, 4, 5};
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return *every.choices.at(a).end.log_probability >
           *every.choices.at(b).end.log_probability;
  });

  GenerateJob best = PlainJob(20, 15);
  best.choices = 2;
  best.best_of = 6;
  const ChoicesAnswer answer = RunChoices(rig, best);
  ASSERT_THAT(answer.choices, SizeIs(2));
  for (const int32_t i : {0, 1}) {
    EXPECT_EQ(answer.choices.at(i).tokens, every.choices.at(order[i]).tokens);
    EXPECT_EQ(answer.choices.at(i).text, every.choices.at(order[i]).text);
    EXPECT_EQ(answer.choices.at(i).end.log_probability,
              every.choices.at(order[i]).end.log_probability);
  }
  EXPECT_EQ(answer.end.usage.generated_tokens, 6 * 15) << "all of them count";
}

TEST(EngineChoicesTest, RanksByTheMeanOverTokensOfUnequalLength) {
  Rig rig({.slots = 8});
  GenerateJob job = PlainJob(8, 60, 3);
  job.sampling.logprobs = 0;
  for (int32_t token = 0; token < 40; ++token) job.stop_tokens.push_back(token);
  job.choices = job.best_of = 8;
  const ChoicesAnswer every = RunChoices(rig, job);
  std::map<double, std::vector<int32_t>> by_mean;
  for (const auto& [index, choice] : every.choices) {
    by_mean[*choice.end.log_probability /
            static_cast<double>(choice.tokens.size())] = choice.tokens;
  }
  job.choices = 1;
  const ChoicesAnswer best = RunChoices(rig, job);
  EXPECT_EQ(best.choices.at(0).tokens, by_mean.rbegin()->second);
}

TEST(EngineChoicesTest, GivesTheSlotOfAnEndedChoiceBackAtOnce) {
  Rig rig({.slots = 3});
  GenerateJob job = PlainJob(8, 400, 5);
  // Each byte ends a choice with 1 in 258, so that they end apart.
  job.stop_tokens = {10};
  job.sampling.temperature = 5;
  job.choices = job.best_of = 3;
  // Looked at before each step, on the engine's thread.
  std::set<int32_t> free_seen;
  rig.backend->SetHook([&](const StepRows&) {
    free_seen.insert(rig.engine->Load().slots_free);
    return absl::OkStatus();
  });
  RunChoices(rig, job);
  rig.backend->SetHook(nullptr);
  EXPECT_THAT(free_seen, ElementsAre(0, 1, 2));
  EXPECT_EQ(rig.engine->Load().slots_free, 3);

  // What runs on is not disturbed, whichever ends first.
  Rig by_hand({.slots = 1}, /*start=*/false);
  for (uint32_t seed = 0; seed < 6; ++seed) {
    job.sampling.seed = seed;
    const ChoicesAnswer answer = RunChoices(rig, job);
    for (const auto& [index, choice] : answer.choices) {
      std::vector<int32_t> want =
          by_hand.GenerateByHand(job, static_cast<uint32_t>(index));
      const auto stop = std::find(want.begin(), want.end(), 10);
      if (stop != want.end()) want.erase(stop + 1, want.end());
      EXPECT_EQ(choice.tokens, want) << "seed " << seed << ", " << index;
    }
  }
}

TEST(EngineChoicesTest, WaitsUntilAllItsSlotsAreFree) {
  Rig rig({.slots = 3});
  Listener endless;
  ASSERT_TRUE(rig.engine->Submit(Job(endless, 5, 60000)).ok());
  endless.WaitForTokens(1);
  GenerateJob job = PlainJob(5, 4);
  job.choices = job.best_of = 3;
  job.stream = std::make_shared<TokenStream>();
  ASSERT_TRUE(rig.engine->Submit(job).ok());
  EXPECT_TRUE(Eventually([&] { return rig.engine->Load().waiting == 1; }));
  endless.stream()->Cancel();
  EXPECT_TRUE(Eventually([&] {
    while (!job.stream->Pop().empty()) {
    }
    return job.stream->End().has_value();
  }));
}

TEST(EngineChoicesTest, RefusesMoreChoicesThanThereAreSlots) {
  Rig rig({.slots = 3});
  GenerateJob job = PlainJob(5, 4);
  job.stream = std::make_shared<TokenStream>();
  job.choices = job.best_of = 4;
  EXPECT_EQ(rig.engine->Submit(job).message(), "best_of: 4; want 1 to 3");
  job.best_of = 2;
  job.choices = 3;
  EXPECT_EQ(rig.engine->Submit(job).message(), "n: 3; want 1 to 2");
}

TEST(EngineChoicesTest, EndsEveryChoiceWhenItIsCancelled) {
  Rig rig({.slots = 4});
  GenerateJob job = PlainJob(5, 60000);
  job.choices = job.best_of = 4;
  job.stream = std::make_shared<TokenStream>();
  ASSERT_TRUE(rig.engine->Submit(job).ok());
  ASSERT_TRUE(Eventually([&] { return !job.stream->Pop().empty(); }));
  job.stream->Cancel();
  std::map<int32_t, FinishReason> reasons;
  ASSERT_TRUE(Eventually([&] {
    for (;;) {
      const GenerationDelta delta = job.stream->Pop();
      if (delta.empty()) break;
      if (delta.end.has_value()) reasons[delta.choice] = delta.end->reason;
    }
    return job.stream->End().has_value();
  }));
  reasons[job.stream->End()->choice] = job.stream->End()->reason;
  EXPECT_THAT(reasons, SizeIs(4));
  for (const auto& [choice, reason] : reasons) {
    EXPECT_EQ(reason, FinishReason::kCancelled);
  }
  EXPECT_EQ(rig.engine->Load().slots_free, 4);
  EXPECT_EQ(rig.Metric("chela_finished_total", ",reason=\"cancelled\""), 4);
}

TEST(EngineChoicesTest, ReportsThePromptsLogprobsAsScoringDoes) {
  Rig by_hand({.slots = 1}, /*start=*/false);
  Rig rig;
  for (const int32_t size : {1, 2, 256, 300}) {
    GenerateJob job = PlainJob(size, 3);
    job.prompt_logprobs = 2;
    const ChoicesAnswer answer = RunChoices(rig, job);
    ASSERT_THAT(answer.prompt, SizeIs(size));
    EXPECT_EQ(answer.prompt[0].token, job.prompt[0]);
    EXPECT_EQ(answer.prompt[0].logprob, 0);
    EXPECT_TRUE(answer.prompt[0].top.empty());
    const std::vector<double> want = by_hand.ScoreByHand({}, job.prompt);
    for (int32_t i = 1; i < size; ++i) {
      EXPECT_EQ(answer.prompt[i].token, job.prompt[i]);
      EXPECT_EQ(answer.prompt[i].logprob, static_cast<float>(want[i - 1]));
      EXPECT_THAT(answer.prompt[i].top, SizeIs(2));
    }
    job.prompt_logprobs = -1;
    EXPECT_EQ(RunChoices(rig, job).choices.at(0).tokens,
              answer.choices.at(0).tokens);
  }
}

TEST(EngineChoicesTest, EndsAtAStopTokenWithOrWithoutItsText) {
  Rig rig;
  GenerateJob job = PlainJob(8, 200);
  const std::vector<int32_t> tokens = RunChoices(rig, job).choices.at(0).tokens;
  // An ASCII letter: a character of its own.
  const auto letter = std::find_if(tokens.begin() + 5, tokens.end(),
                                   [](int32_t t) { return t > 64 && t < 91; });
  ASSERT_NE(letter, tokens.end());
  const auto first = std::find(tokens.begin(), tokens.end(), *letter);
  job.stop_tokens = {*letter};
  const ChoicesAnswer without = RunChoices(rig, job);
  job.include_stop = true;
  const ChoicesAnswer with = RunChoices(rig, job);
  for (const ChoicesAnswer* answer : {&without, &with}) {
    EXPECT_EQ(answer->end.reason, FinishReason::kStop);
    EXPECT_EQ(answer->end.stop_token, *letter);
    EXPECT_EQ(answer->end.stop, "");
    EXPECT_EQ(answer->choices.at(0).tokens,
              std::vector<int32_t>(tokens.begin(), first + 1));
  }
  const std::string& text = with.choices.at(0).text;
  EXPECT_EQ(text.back(), static_cast<char>(*letter));
  EXPECT_EQ(text.compare(0, without.choices.at(0).text.size(),
                         without.choices.at(0).text),
            0);
}

TEST(EngineChoicesTest, NoneOfTheFirstMinTokensEndsTheText) {
  Rig rig;
  GenerateJob job = PlainJob(8, 300);
  job.ignore_eos = false;
  job.sampling.temperature = 3;
  for (int32_t token = 0; token < 128; ++token) {
    job.stop_tokens.push_back(token);
  }
  EXPECT_LT(RunChoices(rig, job).choices.at(0).tokens.size(), 30u);
  job.sampling.min_tokens = 50;
  for (uint32_t seed = 0; seed < 5; ++seed) {
    job.sampling.seed = seed;
    const ChoicesAnswer answer = RunChoices(rig, job);
    EXPECT_GT(answer.choices.at(0).tokens.size(), 50u);
    EXPECT_LT(answer.choices.at(0).tokens.size(), 90u);
  }
  // Stop strings: every ASCII letter is one.
  GenerateJob strings = PlainJob(8, 300);
  for (char c = 'A'; c <= 'P'; ++c) strings.stop.emplace_back(1, c);
  strings.sampling.min_tokens = 100;
  const ChoicesAnswer answer = RunChoices(rig, strings);
  EXPECT_GT(answer.choices.at(0).tokens.size(), 100u);
}

}  // namespace
}  // namespace chela
