#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/integration/server_rig.h"
#include "tests/support/temp_dir.h"

namespace chela {
namespace {

using ::testing::HasSubstr;

v1::GenerateResponse AnswerTo(ServerRig& rig,
                              const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  v1::GenerateResponse response;
  const grpc::Status status = rig.stub().Generate(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

int32_t Cached(const v1::GenerateResponse& response) {
  return response.finish().usage().cached_prompt_tokens();
}

// 1,000 tokens and BOS.
std::string LongPrompt() {
  std::string text;
  while (text.size() < 1000) text += "Of the sea and its captains. ";
  return text.substr(0, 1000);
}

// The default would follow the tiny model's states, which are smaller than some
// prompts' tokens.
ServerConfig Ample() {
  ServerConfig config;
  config.prefix_cache_bytes = 16 << 20;
  return config;
}

TEST(PrefixCacheServiceTest, SharesBeginningsWithinASaltAndSaysSo) {
  ServerRig rig(Ample());
  v1::GenerateRequest request = Continue(LongPrompt(), 8);
  const v1::GenerateResponse first = AnswerTo(rig, request);
  EXPECT_EQ(Cached(first), 0);
  const v1::GenerateResponse second = AnswerTo(rig, request);
  EXPECT_EQ(Cached(second), 768);
  EXPECT_EQ(second.finish().usage().prompt_tokens(), 1001);
  EXPECT_EQ(second.text(), first.text());

  request.set_cache_salt("another tenant");
  EXPECT_EQ(Cached(AnswerTo(rig, request)), 0);
  EXPECT_EQ(Cached(AnswerTo(rig, request)), 768);

  EXPECT_EQ(rig.GetLoad().state_slots_free(), 64);
  const std::string page =
      Http(rig.server().metrics_address().port, "GET", "/metrics");
  for (const char* line :
       {"chela_prefix_cache_queries_total{model=\"tiny\"} 4004",
        "chela_prefix_cache_hits_total{model=\"tiny\"} 1536",
        "chela_cached_prompt_tokens_total{model=\"tiny\"} 1536",
        "chela_prompt_tokens_total{model=\"tiny\"} 4004",
        "chela_state_slots{model=\"tiny\",state=\"cached\"} 2"}) {
    EXPECT_THAT(page, HasSubstr(line));
  }
}

TEST(PrefixCacheServiceTest, ANamedPointServesTheNextPromptThatPartsThere) {
  ServerRig rig(Ample());
  const std::string shared = LongPrompt();
  v1::GenerateRequest request = Continue(shared + std::string(500, 'x'), 1);
  request.add_cache_at(1001);
  AnswerTo(rig, request);
  EXPECT_EQ(Cached(AnswerTo(rig, Continue(shared + " Why?", 1))), 768);
}

TEST(PrefixCacheServiceTest, APinIsReportedAndCounted) {
  ServerRig rig(Ample());
  v1::GenerateRequest request = Continue(LongPrompt(), 1);
  request.add_cache_at(900);
  EXPECT_EQ(AnswerTo(rig, request).finish().usage().pinned_tokens(), 0);
  request.set_cache_pin_seconds(60);
  EXPECT_EQ(AnswerTo(rig, request).finish().usage().pinned_tokens(), 768);
  const auto page = [&rig] {
    return Http(rig.server().metrics_address().port, "GET", "/metrics");
  };
  const std::string metric = "chela_prefix_cache_pinned_bytes{model=\"tiny\"} ";
  EXPECT_THAT(page(), HasSubstr(metric));
  EXPECT_THAT(page(), ::testing::Not(HasSubstr(metric + "0\n")));
  request.set_cache_pin_seconds(0);
  EXPECT_EQ(AnswerTo(rig, request).finish().usage().pinned_tokens(), 0);
  EXPECT_THAT(page(), HasSubstr(metric + "0\n"));
}

TEST(PrefixCacheServiceTest, PinsCanBeTurnedOff) {
  ServerConfig config = Ample();
  config.prefix_cache_pinned_bytes = 0;
  ServerRig rig(config);
  v1::GenerateRequest request = Continue(LongPrompt(), 1);
  request.add_cache_at(900);
  request.set_cache_pin_seconds(60);
  EXPECT_EQ(AnswerTo(rig, request).finish().usage().pinned_tokens(), 0);
}

TEST(PrefixCacheServiceTest, AContextOfScoresIsReadOnceWithinASalt) {
  ServerRig rig(Ample());
  v1::ScoreRequest request;
  request.set_prefix(LongPrompt());
  request.add_continuations()->set_text("one");
  request.add_continuations()->set_text("two");
  const auto score = [&rig, &request] {
    grpc::ClientContext context;
    v1::ScoreResponse response;
    EXPECT_TRUE(rig.stub().Score(&context, request, &response).ok());
    return response;
  };
  const v1::ScoreResponse first = score();
  EXPECT_EQ(first.usage().cached_prompt_tokens(), 0);
  const v1::ScoreResponse second = score();
  EXPECT_EQ(second.usage().cached_prompt_tokens(), 768);
  EXPECT_EQ(second.usage().prompt_tokens(), first.usage().prompt_tokens());
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(second.scores(i).SerializeAsString(),
              first.scores(i).SerializeAsString());
  }
  // What a prompt left serves a context, and the other way round.
  EXPECT_EQ(Cached(AnswerTo(rig, Continue(LongPrompt() + " Why?", 1))), 768);
  request.set_cache_salt("another tenant");
  EXPECT_EQ(score().usage().cached_prompt_tokens(), 0);
  request.set_cache_salt(std::string(257, 'x'));
  grpc::ClientContext context;
  v1::ScoreResponse response;
  const grpc::Status refused = rig.stub().Score(&context, request, &response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refused.error_details(), HasSubstr("cache_salt"));
}

TEST(PrefixCacheServiceTest, ARestartedServerFindsItsFolder) {
  const test_support::TempDir folder;
  ServerConfig config = Ample();
  config.prefix_cache_dir = folder.path() + "/prefixes";
  const v1::GenerateRequest request = Continue(LongPrompt(), 8);
  std::string text;
  {
    ServerRig rig(config);
    const v1::GenerateResponse first = AnswerTo(rig, request);
    EXPECT_EQ(Cached(first), 0);
    const v1::GenerateResponse second = AnswerTo(rig, request);
    EXPECT_EQ(second.finish().usage().cached_tier(), v1::CACHE_TIER_DEVICE);
    text = first.text();
    // Of one server at a time.
    ServerRig other(config, /*load=*/false);
    const test_support::TinyModel model;
    const absl::Status refused = other.server().Load(model.directory());
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(refused.message(), HasSubstr("--prefix-cache-dir"));
  }
  ServerRig rig(config);
  const v1::GenerateResponse found = AnswerTo(rig, request);
  EXPECT_EQ(Cached(found), 768);
  EXPECT_EQ(found.finish().usage().cached_tier(), v1::CACHE_TIER_DISK);
  EXPECT_EQ(found.text(), text);
  EXPECT_THAT(Http(rig.server().metrics_address().port, "GET", "/metrics"),
              HasSubstr("chela_prefix_cache_tier_hits_total{model=\"tiny\","
                        "tier=\"disk\"} 768"));
}

TEST(PrefixCacheServiceTest, ZeroBytesTurnItOff) {
  ServerConfig config;
  config.prefix_cache_bytes = 0;
  ServerRig rig(config);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Cached(AnswerTo(rig, Continue(LongPrompt(), 1))), 0);
  }
}

}  // namespace
}  // namespace chela
