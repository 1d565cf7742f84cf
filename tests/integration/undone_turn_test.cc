// A turn whose client was gone before its end was written is taken back. The
// moment in between is held open by a Redis that stands still: the generation
// has ended, its commit waits, and meanwhile the client goes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "tests/integration/process.h"
#include "tests/integration/programs_rig.h"
#include "tests/integration/server_rig.h"
#include "tests/integration/session_client.h"
#include "tests/server/redis_process.h"

namespace chela {
namespace {

using test_support::RedisProcess;
using ::testing::ElementsAre;

constexpr int kTokens = 20;

class UndoneTurnTest : public ::testing::Test {
 protected:
  void SetUp() override {
    redis_ = RedisProcess::Start();
    if (redis_ == nullptr) {
      ASSERT_EQ(std::getenv("CHELA_REQUIRE_REDIS"), nullptr);
      GTEST_SKIP() << "no redis-server";
    }
    ServerConfig config;
    config.session_store = redis_->url();
    rig_ = std::make_unique<ServerRig>(config);
    client_ = std::make_unique<SessionClient>(*rig_);
    client_->Create("s");
    v1::GenerateRequest first = In("s", "Once upon", kTokens);
    first.set_checkpoint("here");
    EXPECT_EQ(client_->Generate(first).revision(), 1);
    // The state is in memory, so that a turn begins without Redis.
    redis_->StandStill();
  }

  static v1::GenerateRequest Second() {
    v1::GenerateRequest request = In("s", " a time", kTokens);
    request.set_checkpoint("here");
    return request;
  }

  std::string Page() const {
    return Http(rig_->server().metrics_address().port, "GET", "/metrics");
  }
  void WaitForTheGenerationsEnd() const {
    ASSERT_TRUE(Eventually([&] {
      return Page().find(
                 "chela_finished_total{model=\"tiny\",reason=\""
                 "length\"} 2") != std::string::npos;
    }));
  }
  // Its revision was stored and is gone; everything is as before it.
  void ExpectTakenBack() {
    // The news must reach the server before its status goes out; a client that
    // goes later is one that may have seen the end.
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    redis_->GoOn();
    EXPECT_TRUE(Eventually([&] {
      return Page().find(
                 "chela_session_operations_total{model=\"tiny\","
                 "op=\"turn\",result=\"ok\"} 2") != std::string::npos;
    })) << Page();
    EXPECT_TRUE(Eventually(
        [&] { return client_->List().sessions(0).revision() == 1; }));
    const v1::Session session = client_->List().sessions(0);
    EXPECT_THAT(session.revisions(), ElementsAre(1));
    EXPECT_THAT(session.checkpoints(), ElementsAre("here"));
    v1::SessionPoint here;
    here.set_checkpoint("here");
    EXPECT_EQ(client_->Rewind("s", here).tokens(), session.tokens());
    // The call again gives what it would have given, as a new revision.
    const auto again = client_->Generate(Second());
    EXPECT_EQ(again.revision(), 4);
    client_->Create("other");
    client_->Generate(In("other", "Once upon", kTokens));
    EXPECT_EQ(Tokens(client_->Generate(In("other", " a time", kTokens))),
              Tokens(again));
  }

  std::unique_ptr<RedisProcess> redis_;
  std::unique_ptr<ServerRig> rig_;
  std::unique_ptr<SessionClient> client_;
};

TEST_F(UndoneTurnTest, OfAStreamThatWasCancelled) {
  grpc::ClientContext context;
  v1::GenerateStreamRequest request;
  *request.mutable_request() = Second();
  const auto reader = rig_->stub().GenerateStream(&context, request);
  WaitForTheGenerationsEnd();
  context.TryCancel();
  v1::GenerateStreamResponse message;
  while (reader->Read(&message)) {
    EXPECT_FALSE(message.has_revision());
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  ExpectTakenBack();
}

TEST_F(UndoneTurnTest, OfACallWhoseDeadlinePassed) {
  std::thread waiting([this] {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::milliseconds(700));
    v1::GenerateResponse response;
    EXPECT_EQ(rig_->stub().Generate(&context, Second(), &response).error_code(),
              grpc::StatusCode::DEADLINE_EXCEEDED);
  });
  WaitForTheGenerationsEnd();
  waiting.join();
  ExpectTakenBack();
}

TEST_F(UndoneTurnTest, OfAClientThatWasKilled) {
  Process cli(kCli, {"generate", "--session", "s", "--prompt", " a time",
                     "--max-tokens", std::to_string(kTokens), "--seed", "3",
                     "--ignore-eos", "--checkpoint", "here", "--target",
                     rig_->server().grpc_address().ToString()});
  WaitForTheGenerationsEnd();
  cli.Signal(SIGKILL);
  EXPECT_EQ(cli.Wait(), -1);
  ExpectTakenBack();
}

TEST_F(UndoneTurnTest, ButNotOfAClientThatSawItsEnd) {
  redis_->GoOn();
  EXPECT_EQ(client_->Generate(Second()).revision(), 2);
  EXPECT_EQ(client_->Generate(In("s", "more", 1)).revision(), 3);
  EXPECT_THAT(client_->List().sessions(0).revisions(), ElementsAre(3, 2));
}

}  // namespace
}  // namespace chela
