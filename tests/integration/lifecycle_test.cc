#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <future>
#include <thread>
#include <vector>

#include "tests/integration/server_rig.h"

namespace chela {
namespace {

namespace health = grpc::health::v1;
using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kService[] = "chela.v1.GenerationService";

health::HealthCheckRequest Ask(const std::string& service) {
  health::HealthCheckRequest request;
  request.set_service(service);
  return request;
}

health::HealthCheckResponse::ServingStatus Check(ServerRig& rig,
                                                 const std::string& service) {
  grpc::ClientContext context;
  health::HealthCheckResponse response;
  EXPECT_TRUE(rig.health().Check(&context, Ask(service), &response).ok());
  return response.status();
}

grpc::StatusCode TryGenerate(ServerRig& rig) {
  grpc::ClientContext context;
  v1::GenerateResponse response;
  return rig.stub()
      .Generate(&context, Continue("x", 1), &response)
      .error_code();
}

TEST(LifecycleTest, LivesFromTheStartAndIsReadyOnceLoaded) {
  ServerRig rig({}, /*load=*/false);
  const int port = rig.server().metrics_address().port;
  EXPECT_EQ(Check(rig, ""), health::HealthCheckResponse::SERVING);
  EXPECT_EQ(Check(rig, kService), health::HealthCheckResponse::NOT_SERVING);
  EXPECT_THAT(Http(port, "GET", "/healthz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Http(port, "GET", "/readyz"), StartsWith("HTTP/1.1 503"));
  EXPECT_EQ(TryGenerate(rig), grpc::StatusCode::UNAVAILABLE);

  rig.Load();

  EXPECT_EQ(Check(rig, kService), health::HealthCheckResponse::SERVING);
  EXPECT_THAT(Http(port, "GET", "/readyz"), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(TryGenerate(rig), grpc::StatusCode::OK);
}

TEST(LifecycleTest, TellsWatchersOfEachChange) {
  ServerRig rig({}, /*load=*/false);
  grpc::ClientContext context;
  const auto watch = rig.health().Watch(&context, Ask(kService));
  health::HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), health::HealthCheckResponse::NOT_SERVING);
  rig.Load();
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), health::HealthCheckResponse::SERVING);
  std::thread drain(
      [&] { rig.server().Drain(milliseconds(50), milliseconds(1000)); });
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), health::HealthCheckResponse::NOT_SERVING);
  drain.join();  // A watch does not hold it up.
}

TEST(LifecycleTest, TakesCallsInTheGraceAndLetsThemFinish) {
  ServerRig rig;
  auto drained = std::async(std::launch::async, [&] {
    rig.server().Drain(milliseconds(400), milliseconds(20000));
  });
  ASSERT_TRUE(Eventually([&] { return !rig.server().ready(); }));
  EXPECT_THAT(Http(rig.server().metrics_address().port, "GET", "/readyz"),
              StartsWith("HTTP/1.1 503"));
  grpc::ClientContext context;
  v1::GenerateResponse response;
  const grpc::Status status =
      rig.stub().Generate(&context, Continue("x", 300), &response);

  EXPECT_TRUE(status.ok()) << status.error_message();
  drained.get();
  EXPECT_EQ(TryGenerate(rig), grpc::StatusCode::UNAVAILABLE);
}

TEST(LifecycleTest, EndsStreamsThatOutliveTheDrainTimeout) {
  ServerRig rig;
  grpc::ClientContext context;
  v1::GenerateStreamRequest request;
  *request.mutable_request() = Continue("x", 65536);
  const auto reader = rig.stub().GenerateStream(&context, request);
  v1::GenerateStreamResponse message;
  ASSERT_TRUE(reader->Read(&message));
  auto drained = std::async(std::launch::async, [&] {
    rig.server().Drain(milliseconds(0), milliseconds(200));
  });
  while (reader->Read(&message)) {
  }

  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  drained.get();
}

TEST(LifecycleTest, DrainsAtOnceWhenNothingRuns) {
  ServerRig rig;
  const auto start = Clock::now();
  rig.server().Drain(milliseconds(0), milliseconds(60000));

  EXPECT_LT(Clock::now() - start, std::chrono::seconds(20));
}

TEST(LifecycleTest, RefusesAPortInUseWithTheReason) {
  ServerRig rig;
  ServerConfig config;
  config.listen = rig.server().grpc_address();
  config.metrics_listen = {"127.0.0.1", 0};
  const auto second = Server::Listen(config, "tiny", nullptr);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr("Address already in use"));

  config.listen = {"127.0.0.1", 0};
  config.metrics_listen = rig.server().metrics_address();
  EXPECT_THAT(
      std::string(Server::Listen(config, "tiny", nullptr).status().message()),
      HasSubstr("Address already in use"));
}

TEST(LifecycleTest, DescribesItsModel) {
  ServerRig rig;
  grpc::ClientContext context;
  v1::GetModelInfoResponse info;
  ASSERT_TRUE(rig.stub().GetModelInfo(&context, {}, &info).ok());

  EXPECT_EQ(info.model(), "tiny");
  EXPECT_EQ(info.tokenizer(), "bytes");
  EXPECT_EQ(info.state_slots(), 64);
  EXPECT_GT(info.state_bytes_per_sequence(), 0);
  EXPECT_EQ(info.fingerprint().size(), 16u);
  EXPECT_THAT(info.device(), StartsWith("cpu: "));
  EXPECT_EQ(info.chunk_tokens(), 256);
}

TEST(MetricsPortTest, ServesMetricsAndNothingElse) {
  ServerRig rig;
  const int port = rig.server().metrics_address().port;
  ASSERT_EQ(TryGenerate(rig), grpc::StatusCode::OK);

  const std::string page = Http(port, "GET", "/metrics");
  EXPECT_THAT(page, HasSubstr("version=0.0.4"));
  EXPECT_THAT(page, HasSubstr("chela_requests_total{model=\"tiny\",code=\"OK\","
                              "rpc=\"generate\"} 1"));
  EXPECT_THAT(page, HasSubstr("chela_model_info{"));
  EXPECT_THAT(page, HasSubstr("chela_build_info{"));
  const std::string head = Http(port, "HEAD", "/metrics");
  EXPECT_THAT(head, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(head, Not(HasSubstr("chela_requests_total")));
  for (const char* path : {"/", "/metricsx", "/../etc/passwd"}) {
    EXPECT_THAT(Http(port, "GET", path), HasSubstr("404")) << path;
  }
  EXPECT_THAT(Http(port, "POST", "/metrics"), StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(Http(port, "NONSENSE", "/"), HasSubstr("40"));
}

TEST(MetricsPortTest, AnswersWhileOtherClientsStall) {
  ServerRig rig;
  const int port = rig.server().metrics_address().port;
  std::vector<int> stalled;
  for (int i = 0; i < 8; ++i) stalled.push_back(ConnectTo(port));
  for (const int fd : stalled) EXPECT_EQ(write(fd, "GET /he", 7), 7);

  EXPECT_THAT(Http(port, "GET", "/healthz"), StartsWith("HTTP/1.1 200"));
  for (const int fd : stalled) close(fd);
}

// Reflection has no installed headers here; its messages are two bytes to ask
// for the list of services, and names in the answer.
TEST(ReflectionTest, ListsTheServices) {
  ServerRig rig;
  grpc::GenericStub stub(rig.channel());
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto next = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  const auto call = stub.PrepareCall(
      &context,
      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  call->StartCall(nullptr);
  ASSERT_TRUE(next());
  const grpc::Slice list_services(std::string("\x3a\x00", 2));
  call->Write(grpc::ByteBuffer(&list_services, 1), nullptr);
  ASSERT_TRUE(next());
  grpc::ByteBuffer answer;
  call->Read(&answer, nullptr);
  ASSERT_TRUE(next());
  grpc::Slice bytes;
  ASSERT_TRUE(answer.DumpToSingleSlice(&bytes).ok());
  const std::string text(reinterpret_cast<const char*>(bytes.begin()),
                         bytes.size());
  EXPECT_THAT(text, HasSubstr(kService));
  EXPECT_THAT(text, HasSubstr("grpc.channelz.v1.Channelz"));
  context.TryCancel();
  queue.Shutdown();
  while (next()) {
  }
}

}  // namespace
}  // namespace chela
