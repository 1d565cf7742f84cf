#include "server/rpc/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "server/rpc/status.h"
#include "tests/server/convert_rig.h"

namespace chela {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

v1::GenerateRequest Prompt(const std::string& text) {
  v1::GenerateRequest request;
  request.set_prompt(text);
  return request;
}

TEST_F(ConvertTest, GivesAbsentFieldsTheDefaultsOfTheApi) {
  const auto job = Convert(Prompt("ab"));

  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(job->prompt, ElementsAre(256, 'a', 'b'));
  EXPECT_EQ(job->max_tokens, 256);
  EXPECT_EQ(job->sampling.temperature, 1);
  EXPECT_EQ(job->sampling.top_p, 1);
  EXPECT_EQ(job->sampling.top_k, 0);
  EXPECT_EQ(job->sampling.logprobs, -1);
  EXPECT_FALSE(job->ignore_eos);
}

TEST_F(ConvertTest, TakesDefaultsFromTheCheckpointAndThenTheRequest) {
  context_.defaults.temperature = 0.5;
  context_.defaults.top_k = 7;
  context_.defaults.max_tokens = 9;
  v1::GenerateRequest request = Prompt("a");
  request.mutable_sampling()->set_top_k(0);

  const auto job = Convert(request);

  ASSERT_TRUE(job.ok());
  EXPECT_EQ(job->sampling.temperature, 0.5);
  EXPECT_EQ(job->sampling.top_k, 0) << "zero means zero";
  EXPECT_EQ(job->max_tokens, 9);
}

TEST_F(ConvertTest, KeepsDefaultMaxTokensBelowTheServersCap) {
  context_.max_output_tokens = 100;

  EXPECT_EQ(Convert(Prompt("a"))->max_tokens, 100);
}

TEST_F(ConvertTest, DrawsADifferentSeedForEachRequestWithoutOne) {
  EXPECT_NE(Convert(Prompt("a"))->sampling.seed,
            Convert(Prompt("a"))->sampling.seed);
}

TEST_F(ConvertTest, KeepsTheSeedOfTheRequestEvenZero) {
  v1::GenerateRequest request = Prompt("a");
  request.mutable_sampling()->set_seed(0);

  EXPECT_EQ(Convert(request)->sampling.seed, 0u);
}

TEST_F(ConvertTest, UsesPromptTokensWithoutBos) {
  v1::GenerateRequest request;
  request.mutable_prompt_tokens()->add_ids(5);

  EXPECT_THAT(Convert(request)->prompt, ElementsAre(5));
}

TEST_F(ConvertTest, TakesAnEmptyPromptSinceTheModelAddsBos) {
  EXPECT_THAT(Convert(Prompt(""))->prompt, ElementsAre(256));
}

TEST_F(ConvertTest, RefusesARequestWithoutAPrompt) {
  EXPECT_THAT(WrongFields(Convert({}).status()), ElementsAre("prompt"));
}

TEST_F(ConvertTest, NamesEveryWrongFieldAtOnce) {
  v1::GenerateRequest request = Prompt("a");
  request.set_priority(101);
  request.set_user(std::string(257, 'u'));
  v1::SamplingParams& sampling = *request.mutable_sampling();
  sampling.set_max_tokens(0);
  sampling.set_temperature(std::numeric_limits<double>::quiet_NaN());
  sampling.set_top_k(-1);
  sampling.set_top_p(0);
  sampling.set_logprobs(21);
  sampling.add_stop("");
  sampling.add_stop(std::string(1025, 's'));

  const absl::Status status = Convert(request).status();

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(WrongFields(status),
              UnorderedElementsAre("priority", "user", "sampling.max_tokens",
                                   "sampling.temperature", "sampling.top_k",
                                   "sampling.top_p", "sampling.logprobs",
                                   "sampling.stop[0]", "sampling.stop[1]"));
}

TEST_F(ConvertTest, HandsOnWhatThePrefixCacheIsToldAndRefusesWhatItCannotBe) {
  v1::GenerateRequest request = Prompt("abc");  // four tokens with BOS
  request.add_cache_at(4);
  request.add_cache_at(1);
  request.set_cache_salt(std::string(256, 's'));
  const absl::StatusOr<GenerateJob> job = Convert(request);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(job->cache_at, ElementsAre(4, 1));
  EXPECT_EQ(job->cache_salt, std::string(256, 's'));
  EXPECT_EQ(job->cache_pin, std::nullopt);
  for (const int32_t pin : {0, 86400}) {
    request.set_cache_pin_seconds(pin);
    EXPECT_EQ(Convert(request)->cache_pin, std::chrono::seconds(pin));
  }
  for (const int32_t pin : {-1, 86401}) {
    request.set_cache_pin_seconds(pin);
    EXPECT_THAT(WrongFields(Convert(request).status()),
                ElementsAre("cache_pin_seconds"));
  }
  v1::GenerateRequest pin_of_nothing = Prompt("abc");
  pin_of_nothing.set_cache_pin_seconds(1);
  EXPECT_THAT(WrongFields(Convert(pin_of_nothing).status()),
              ElementsAre("cache_pin_seconds"));
  request.clear_cache_pin_seconds();

  request.add_cache_at(5);
  request.add_cache_at(0);
  request.set_cache_salt(std::string(257, 's'));
  EXPECT_THAT(WrongFields(Convert(request).status()),
              UnorderedElementsAre("cache_at[2]", "cache_at[3]", "cache_salt"));
  for (int i = 0; i < 20; ++i) request.add_cache_at(1);
  EXPECT_THAT(WrongFields(Convert(request).status()),
              UnorderedElementsAre("cache_at", "cache_salt"));
}

TEST_F(ConvertTest, TakesTheEndsOfEveryRange) {
  for (const bool low : {true, false}) {
    v1::GenerateRequest request = Prompt("a");
    request.set_priority(low ? -100 : 100);
    v1::SamplingParams& sampling = *request.mutable_sampling();
    sampling.set_max_tokens(low ? 1 : context_.max_output_tokens);
    sampling.set_temperature(low ? 0 : 100);
    sampling.set_top_p(low ? 1e-9 : 1);
    sampling.set_logprobs(low ? 0 : 20);
    for (int i = 0; i < 16; ++i) sampling.add_stop(std::string(1024, 's'));
    EXPECT_TRUE(Convert(request).ok()) << Convert(request).status();
  }
}

TEST_F(ConvertTest, HandsEveryFieldOfSamplingOn) {
  v1::GenerateRequest request = Prompt("abc");
  v1::SamplingParams& in = *request.mutable_sampling();
  in.set_max_tokens(20);
  in.set_min_tokens(3);
  in.set_min_p(0.25);
  in.set_typical_p(0.75);
  in.set_repetition_penalty(1.5);
  in.set_presence_penalty(-1);
  in.set_frequency_penalty(0.5);
  in.set_penalty_window(64);
  in.add_stop_token_ids(7);
  in.set_include_stop(true);
  (*in.mutable_logit_bias())[9] = -2;
  in.add_allowed_token_ids(1);
  in.add_banned_token_ids(2);
  in.set_prompt_logprobs(4);
  in.set_n(2);
  in.set_best_of(5);

  const auto job = Convert(request);

  ASSERT_TRUE(job.ok()) << job.status();
  const SamplingParams& out = job->sampling;
  EXPECT_EQ(out.min_tokens, 3);
  EXPECT_EQ(out.min_p, 0.25);
  EXPECT_EQ(out.typical_p, 0.75);
  EXPECT_EQ(out.repetition_penalty, 1.5);
  EXPECT_EQ(out.presence_penalty, -1);
  EXPECT_EQ(out.frequency_penalty, 0.5);
  EXPECT_EQ(out.penalty_window, 64);
  EXPECT_THAT(job->stop_tokens, ElementsAre(7));
  EXPECT_TRUE(job->include_stop);
  ASSERT_EQ(out.logit_bias.size(), 1u);
  EXPECT_EQ(out.logit_bias[0].token, 9);
  EXPECT_EQ(out.logit_bias[0].bias, -2);
  EXPECT_THAT(out.allowed_tokens, ElementsAre(1));
  EXPECT_THAT(out.banned_tokens, ElementsAre(2));
  EXPECT_EQ(job->prompt_logprobs, 4);
  EXPECT_EQ(job->choices, 2);
  EXPECT_EQ(job->best_of, 5);
}

TEST_F(ConvertTest, LetsDefaultLengthsGiveWayToTheRequest) {
  context_.defaults.max_tokens = 300;
  context_.defaults.min_tokens = 100;
  v1::GenerateRequest request = Prompt("a");
  EXPECT_EQ(Convert(request)->sampling.min_tokens, 100);
  request.mutable_sampling()->set_max_tokens(10);
  EXPECT_EQ(Convert(request)->sampling.min_tokens, 10);
}

TEST_F(ConvertTest, WantsATokenToBeLeft) {
  v1::GenerateRequest request = Prompt("a");
  v1::SamplingParams& sampling = *request.mutable_sampling();
  for (int id = 0; id < 257; ++id) sampling.add_banned_token_ids(id);
  EXPECT_TRUE(Convert(request).ok()) << "EOS is left";
  sampling.set_min_tokens(1);
  EXPECT_THAT(WrongFields(Convert(request).status()),
              ElementsAre("sampling.banned_token_ids"));
  sampling.set_ignore_eos(true);
  EXPECT_TRUE(Convert(request).ok());
  sampling.add_stop_token_ids(257);
  EXPECT_THAT(WrongFields(Convert(request).status()),
              ElementsAre("sampling.banned_token_ids"));
}

TEST_F(ConvertTest, BoundsTheLogprobsOfAPrompt) {
  v1::GenerateRequest request = Prompt(std::string(49932, 'x'));
  request.mutable_sampling()->set_prompt_logprobs(20);
  EXPECT_THAT(WrongFields(Convert(request).status()),
              ElementsAre("sampling.prompt_logprobs"));
  request.set_prompt(std::string(49931, 'x'));
  EXPECT_TRUE(Convert(request).ok()) << "49932 tokens with BOS";
}

TEST_F(ConvertTest, EchoesThePromptAsTextWithinItsBound) {
  const auto echo = [this](const v1::GenerateRequest& request) {
    return ToEcho(request, *Convert(request), *tokenizer_, "request.");
  };
  v1::GenerateRequest request = Prompt("ab");
  EXPECT_EQ(*echo(request), "");
  request.mutable_sampling()->set_echo(true);
  EXPECT_EQ(*echo(request), "ab");
  v1::GenerateRequest tokens;
  tokens.mutable_sampling()->set_echo(true);
  for (const int id : {256, 97, 0xFF, 98}) {
    tokens.mutable_prompt_tokens()->add_ids(id);
  }
  EXPECT_EQ(*echo(tokens),
            "a\xEF\xBF\xBD"
            "b");
  request.set_prompt(std::string(524288, 'x'));
  request.mutable_sampling()->set_n(128);
  EXPECT_TRUE(echo(request).ok());
  request.set_prompt(std::string(524289, 'x'));
  EXPECT_THAT(WrongFields(echo(request).status()),
              ElementsAre("request.sampling.echo"));
}

TEST_F(ConvertTest, RefusesMoreThanSixteenStops) {
  v1::GenerateRequest request = Prompt("a");
  for (int i = 0; i < 17; ++i)
    request.mutable_sampling()->add_stop(std::string(1, 's'));

  EXPECT_THAT(WrongFields(Convert(request).status()),
              ElementsAre("sampling.stop"));
}

TEST_F(ConvertTest, NamesTheFirstTokenOutsideTheVocabulary) {
  v1::GenerateRequest request;
  for (const int id : {1, 258, -1})
    request.mutable_prompt_tokens()->add_ids(id);

  const absl::Status status = Convert(request).status();

  EXPECT_THAT(WrongFields(status), ElementsAre("prompt_tokens.ids[1]"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("1 more"));
}

TEST_F(ConvertTest, RefusesAPromptAboveTheServersLimit) {
  context_.max_prompt_tokens = 3;

  EXPECT_TRUE(Convert(Prompt("ab")).ok());
  EXPECT_THAT(WrongFields(Convert(Prompt("abc")).status()),
              ElementsAre("prompt"));
}

TEST_F(ConvertTest, PutsThePrefixBeforeEachPath) {
  const auto job = ToGenerateJob({}, context_, "request.");

  EXPECT_THAT(WrongFields(job.status()), ElementsAre("request.prompt"));
}

}  // namespace
}  // namespace chela
