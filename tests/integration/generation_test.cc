#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "tests/integration/raw_call.h"
#include "tests/integration/server_rig.h"

namespace chela {
namespace {

using std::chrono::milliseconds;
using std::chrono::system_clock;
using ::testing::HasSubstr;

struct Streamed {
  std::string text;
  std::vector<int> tokens;
  v1::Finish finish;
  grpc::Status status;
};

Streamed Stream(v1::GenerationService::Stub& stub,
                const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  v1::GenerateStreamRequest wrapped;
  *wrapped.mutable_request() = request;
  const auto reader = stub.GenerateStream(&context, wrapped);
  Streamed out;
  v1::GenerateStreamResponse message;
  while (reader->Read(&message)) {
    out.text += message.text();
    for (const int id : message.tokens().ids()) out.tokens.push_back(id);
    if (message.has_finish()) out.finish = message.finish();
  }
  out.status = reader->Finish();
  return out;
}

// A call that generates until it is told to stop.
class Endless {
 public:
  explicit Endless(ServerRig& rig) {
    *request_.mutable_request() = Continue("x", 65536);
    reader_ = rig.stub().GenerateStream(&context_, request_);
  }
  ~Endless() { context_.TryCancel(); }
  bool ReadOne() { return reader_->Read(&message_); }
  grpc::Status Finish() {
    while (ReadOne()) {
    }
    return reader_->Finish();
  }
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  v1::GenerateStreamRequest request_;
  v1::GenerateStreamResponse message_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateStreamResponse>> reader_;
};

TEST(GenerationTest, StreamsTokensAndOneFinish) {
  ServerRig rig;
  const Streamed got = Stream(rig.stub(), Continue("hello", 20));

  ASSERT_TRUE(got.status.ok()) << got.status.error_message();
  EXPECT_EQ(got.tokens.size(), 20u);
  EXPECT_EQ(got.finish.reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(got.finish.usage().prompt_tokens(), 6);
  EXPECT_EQ(got.finish.usage().generated_tokens(), 20);
}

TEST(GenerationTest, AnswersUnaryAsItStreams) {
  ServerRig rig;
  v1::GenerateRequest request = Continue("hello", 30);
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_seed(7);
  const Streamed streamed = Stream(rig.stub(), request);

  grpc::ClientContext context;
  v1::GenerateResponse unary;
  ASSERT_TRUE(rig.stub().Generate(&context, request, &unary).ok());
  EXPECT_EQ(unary.text(), streamed.text);
  EXPECT_THAT(unary.tokens().ids(),
              ::testing::ElementsAreArray(streamed.tokens));
  EXPECT_EQ(unary.finish().seed(), 7u);
}

TEST(GenerationTest, ReturnsARandomSeedThatRepeatsTheText) {
  ServerRig rig;
  v1::GenerateRequest request = Continue("hello", 30);
  request.mutable_sampling()->set_temperature(1);
  const Streamed first = Stream(rig.stub(), request);
  request.mutable_sampling()->set_seed(first.finish.seed());

  EXPECT_EQ(Stream(rig.stub(), request).tokens, first.tokens);
}

void ExpectSixtyFourAtOnceGetWhatEachGetsAlone(ServerRig& rig) {
  const auto request = [](int i) {
    v1::GenerateRequest one = Continue("prompt " + std::to_string(i * i), 24);
    one.mutable_sampling()->set_temperature(1);
    one.mutable_sampling()->set_seed(static_cast<uint64_t>(i));
    return one;
  };
  std::vector<Streamed> together(64);
  std::vector<std::thread> clients;
  for (int i = 0; i < 64; ++i) {
    clients.emplace_back([&, i] {
      together[static_cast<size_t>(i)] = Stream(rig.stub(), request(i));
    });
  }
  for (std::thread& client : clients) client.join();

  for (int i = 0; i < 64; ++i) {
    const Streamed alone = Stream(rig.stub(), request(i));
    EXPECT_EQ(alone.tokens.size(), 24u);
    EXPECT_EQ(together[static_cast<size_t>(i)].tokens, alone.tokens) << i;
  }
}

TEST(GenerationTest, GivesSixtyFourAtOnceWhatEachGetsAlone) {
  ServerRig rig;
  ExpectSixtyFourAtOnceGetWhatEachGetsAlone(rig);
}

TEST(GenerationTest, GivesSixtyFourOfTheBundledModelWhatEachGetsAlone) {
  ServerRig rig({}, /*load=*/false);
  const absl::Status loaded =
      rig.server().Load(CHELA_SOURCE_DIR "/models/chela-demo");
  ASSERT_TRUE(loaded.ok()) << loaded;
  ExpectSixtyFourAtOnceGetWhatEachGetsAlone(rig);
}

TEST(GenerationTest, ReportsLogProbabilitiesWithTheBytesOfTokens) {
  ServerRig rig;
  v1::GenerateRequest request = Continue("hello", 5);
  request.mutable_sampling()->set_logprobs(3);
  grpc::ClientContext context;
  v1::GenerateResponse response;
  ASSERT_TRUE(rig.stub().Generate(&context, request, &response).ok());

  ASSERT_EQ(response.logprobs_size(), 5);
  for (const v1::TokenLogprobs& one : response.logprobs()) {
    ASSERT_EQ(one.top_size(), 3);
    EXPECT_EQ(one.chosen().token(), one.top(0).token()) << "greedy";
    EXPECT_LE(one.chosen().logprob(), 0);
    if (one.chosen().token() < 256) {
      EXPECT_EQ(one.chosen().bytes(),
                std::string(1, static_cast<char>(one.chosen().token())));
    }
  }
}

TEST(GenerationTest, FreesTheSlotOfACancelledCall) {
  ServerRig rig;
  Endless call(rig);
  ASSERT_TRUE(call.ReadOne());
  EXPECT_EQ(rig.GetLoad().running(), 1);
  call.Cancel();

  EXPECT_TRUE(Eventually([&] { return rig.GetLoad().running() == 0; }));
  EXPECT_EQ(call.Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(rig.GetLoad().state_slots_free(), 64);
}

TEST(GenerationTest, TellsTheClientThatItsDeadlinePassed) {
  ServerRig rig;
  grpc::ClientContext context;
  context.set_deadline(system_clock::now() + milliseconds(100));
  v1::GenerateResponse response;
  const grpc::Status status =
      rig.stub().Generate(&context, Continue("x", 65536), &response);

  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(Eventually([&] { return rig.GetLoad().running() == 0; }));
}

// gRPC's clients cancel at their deadline, so that what the server sees first
// is a race; this one leaves it to the server.
TEST(GenerationTest, EndsAtTheDeadlineWithoutTheClientsHelp) {
  ServerRig rig;
  const RawCall call(rig.server().grpc_address().port, "Generate", "100m",
                     Continue("x", 65536).SerializeAsString());
  const auto page = [&] {
    return Http(rig.server().metrics_address().port, "GET", "/metrics");
  };
  EXPECT_TRUE(Eventually([&] {
    return page().find("code=\"DEADLINE_EXCEEDED\",rpc=\"generate\"} 1") !=
           std::string::npos;
  }));
  EXPECT_THAT(page(), HasSubstr("chela_finished_total{model=\"tiny\",reason="
                                "\"deadline\"} 1"));
  EXPECT_EQ(rig.GetLoad().running(), 0);
}

TEST(GenerationTest, RefusesWhatTheQueueCannotHoldAndSaysWhenToRetry) {
  ServerConfig config;
  config.max_sequences = 1;
  config.max_waiting = 1;
  ServerRig rig(config);
  Endless running(rig);
  ASSERT_TRUE(running.ReadOne());
  Endless waiting(rig);
  ASSERT_TRUE(Eventually([&] { return rig.GetLoad().waiting() == 1; }));

  const Streamed refused = Stream(rig.stub(), Continue("x", 5));

  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  google::rpc::Status details;
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(details.ParseFromString(refused.status.error_details()));
  ASSERT_EQ(details.details_size(), 1);
  EXPECT_TRUE(details.details(0).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
}

TEST(GenerationTest, ListsEveryBadFieldOnTheWire) {
  ServerRig rig;
  v1::GenerateRequest request = Continue("x", 0);
  request.mutable_sampling()->set_top_p(1.5);
  request.set_priority(-101);
  const Streamed refused = Stream(rig.stub(), request);

  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  google::rpc::Status details;
  google::rpc::BadRequest bad;
  ASSERT_TRUE(details.ParseFromString(refused.status.error_details()));
  ASSERT_TRUE(details.details(0).UnpackTo(&bad));
  std::vector<std::string> fields;
  for (const auto& one : bad.field_violations()) fields.push_back(one.field());
  EXPECT_THAT(fields, ::testing::UnorderedElementsAre(
                          "request.sampling.max_tokens",
                          "request.sampling.top_p", "request.priority"));
}

TEST(GenerationTest, RefusesAMessageAboveTheLimit) {
  ServerConfig config;
  config.max_message_bytes = 4096;
  ServerRig rig(config);

  EXPECT_EQ(Stream(rig.stub(), Continue(std::string(5000, 'x'), 1))
                .status.error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Stream(rig.stub(), Continue("x", 1)).status.ok());
}

TEST(GenerationTest, ReadsALongPromptOnAWorker) {
  ServerRig rig;
  const Streamed got = Stream(rig.stub(), Continue(std::string(20000, 'y'), 2));

  ASSERT_TRUE(got.status.ok()) << got.status.error_message();
  EXPECT_EQ(got.finish.usage().prompt_tokens(), 20001);
}

}  // namespace
}  // namespace chela
