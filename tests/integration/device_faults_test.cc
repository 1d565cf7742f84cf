// chela-server with GPUs that fail.
#include <gmock/gmock.h>

#include <string>

#include "tests/integration/devices_rig.h"

namespace chela {
namespace {

namespace health = grpc::health::v1;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kLost[] = "INTERNAL: CUDA could not run a step: device lost";

class FaultTest : public DevicesTest,
                  public ::testing::WithParamInterface<const char*> {};

TEST_P(FaultTest, ALostDeviceEndsStreamsQueueAndProcess) {
  Start(GetParam(), {"--max-sequences", "2"});
  const auto channel =
      grpc::CreateChannel(target_, grpc::InsecureChannelCredentials());
  const auto stub = health::Health::NewStub(channel);
  grpc::ClientContext context;
  health::HealthCheckRequest request;
  request.set_service("chela.v1.GenerationService");
  const auto watch = stub->Watch(&context, request);
  health::HealthCheckResponse seen;
  ASSERT_TRUE(watch->Read(&seen));
  EXPECT_EQ(seen.status(), health::HealthCheckResponse::SERVING);
  // More than there are states: some wait.
  for (int i = 0; i < 6; ++i) Endless();
  const std::string slots = std::string(GetParam()) == "cuda" ? "2" : "4";
  const std::string rest = slots == "2" ? "4" : "2";
  EXPECT_TRUE(Eventually([&] {
    const std::string page = Unlabelled(Page());
    return page.find("_running " + slots + "\n") != std::string::npos &&
           page.find("_waiting " + rest + "\n") != std::string::npos;
  }));

  Tell("fail 0");

  for (const auto& client : clients_) {
    EXPECT_EQ(client->Wait(), 1);
    EXPECT_THAT(client->error(),
                AllOf(HasSubstr("UNAVAILABLE"), HasSubstr("the device failed"),
                      HasSubstr("cuda:0"), HasSubstr(kLost)));
  }
  ASSERT_TRUE(watch->Read(&seen));
  EXPECT_EQ(seen.status(), health::HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(server_->Wait(), 1);
  const std::string log = server_->error();
  const size_t line = log.find("device failed error=");
  ASSERT_NE(line, std::string::npos) << log;
  EXPECT_EQ(log.find("device failed error=", line + 1), std::string::npos);
  EXPECT_THAT(log.substr(line, log.find('\n', line) - line),
              AllOf(HasSubstr("cuda:0"), HasSubstr(kLost)));
}

TEST_P(FaultTest, RefusesNewRequestsWithTheReasonWhileTheGraceLasts) {
  Start(GetParam(), {"--drain-grace", "3s"});
  Process& running = Endless();
  WaitForText(running);

  Tell("fail 0");

  EXPECT_EQ(running.Wait(), 1);
  const auto late = Cli({"generate", "--prompt", "x"});
  EXPECT_EQ(late->Wait(), 1);
  EXPECT_THAT(late->error(), AllOf(HasSubstr("UNAVAILABLE"), HasSubstr(kLost)));
  EXPECT_THAT(Http(server_->MetricsPort(), "GET", "/readyz"),
              HasSubstr("HTTP/1.1 503"));
  EXPECT_EQ(server_->Wait(), 1);
}

TEST_P(FaultTest, ASessionKeepsTheRevisionBeforeTheTurnThatFailed) {
  const Arguments store = {"--session-store", folder_.path() + "/sessions"};
  Start(GetParam(), store);
  ASSERT_EQ(Cli({"session", "create", "s"})->Wait(), 0);
  const Arguments turn = {"generate", "--session",    "s",  "--prompt",
                          "one",      "--max-tokens", "20", "--temperature",
                          "0",        "--ignore-eos"};
  ASSERT_EQ(Cli(turn)->Wait(), 0);
  Process& second = Endless({"--session", "s"});
  WaitForText(second);

  Tell("fail 0");

  EXPECT_EQ(second.Wait(), 1);
  EXPECT_EQ(server_->Wait(), 1);
  Restart(GetParam(), store);
  const auto list = Cli({"session", "list", "--json"});
  ASSERT_EQ(list->Wait(), 0);
  EXPECT_THAT(list->output(), HasSubstr("\"revision\":1"));
  Arguments next = turn;
  next[4] = "two";
  const auto went_on = Cli(next);
  ASSERT_EQ(went_on->Wait(), 0) << went_on->error();
  // The same two turns without a fault.
  ASSERT_EQ(Cli({"session", "create", "t"})->Wait(), 0);
  Arguments again = turn;
  again[2] = next[2] = "t";
  ASSERT_EQ(Cli(again)->Wait(), 0);
  const auto wanted = Cli(next);
  ASSERT_EQ(wanted->Wait(), 0);
  EXPECT_EQ(went_on->output(), wanted->output());
}

INSTANTIATE_TEST_SUITE_P(OneAndTwo, FaultTest,
                         ::testing::Values("cuda", "cuda:0,1"),
                         [](const auto& test) {
                           return std::string(test.param) == "cuda" ? "One"
                                                                    : "Two";
                         });

TEST_F(DevicesTest, TheOthersStreamsEndWithTheLostDevice) {
  Start("cuda:0,1");
  Process& first = Endless();
  WaitForText(first);
  Process& second = Endless();
  WaitForText(second);
  EXPECT_THAT(Page(),
              AllOf(HasSubstr("device=\"cuda:0\",state=\"active\"} 1\n"),
                    HasSubstr("device=\"cuda:1\",state=\"active\"} 1\n")));

  Tell("fail 1");

  for (Process* client : {&first, &second}) {
    EXPECT_EQ(client->Wait(), 1);
    EXPECT_THAT(client->error(),
                AllOf(HasSubstr("UNAVAILABLE"), HasSubstr("cuda:1")));
  }
  EXPECT_EQ(server_->Wait(), 1);
}

TEST_F(DevicesTest, EndsThoughAnotherDeviceHangsAfterTheFault) {
  Start("cuda:0,1", {"--drain-timeout", "500ms"});
  Process& first = Endless();
  WaitForText(first);
  Process& second = Endless();
  WaitForText(second);

  Tell("hang 0 fail 1");

  EXPECT_EQ(second.Wait(), 1);
  EXPECT_EQ(server_->Wait(), 1);
  EXPECT_THAT(server_->error(), HasSubstr("a device hangs after another"));
}

TEST_F(DevicesTest, AFaultOfTheWarmUpEndsTheStart) {
  Tell("fail 1");
  ExpectRefusal(*Server("cuda:0,1"), {"cuda:1: ", "device lost"});
}

}  // namespace
}  // namespace chela
