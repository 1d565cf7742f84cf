#include "server/rpc/generation_service.h"

#include <gmock/gmock.h>

#include "google/rpc/error_details.pb.h"
#include "tests/server/service_rig.h"

namespace chela {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

using GenerationServiceTest = ServiceTest;

TEST_F(GenerationServiceTest, IsUnavailableUntilAModelIsServed) {
  v1::GenerateResponse response;
  const grpc::Status status =
      stub_->Generate(&context_, Request("a").request(), &response);

  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(metrics_.Render(),
              HasSubstr("code=\"UNAVAILABLE\",rpc=\"generate\"} 1"));
}

TEST_F(GenerationServiceTest, StreamsEverythingInOrderHoweverItIsMerged) {
  Serve();
  const auto reader = stub_->GenerateStream(&context_, Request("a"));
  const GenerateJob job = engine_.NextGeneration();
  std::string sent;
  for (int i = 0; i < 2000; ++i) {
    const std::string text(1, static_cast<char>('a' + i % 26));
    Push(job, text);
    sent += text;
  }
  Close(job, FinishReason::kLength);

  std::string got;
  int tokens = 0;
  int finishes = 0;
  v1::GenerateStreamResponse message;
  while (reader->Read(&message)) {
    EXPECT_EQ(finishes, 0) << "the finish is in the last message";
    got += message.text();
    tokens += message.tokens().ids_size();
    finishes += message.has_finish() ? 1 : 0;
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(got, sent);
  EXPECT_EQ(tokens, 2000);
  EXPECT_EQ(finishes, 1);
}

TEST_F(GenerationServiceTest, CollectsTheTextOfAUnaryCall) {
  Serve();
  std::thread engine([this] {
    const GenerateJob job = engine_.NextGeneration();
    Push(job, "one ");
    Push(job, "two");
    Close(job, FinishReason::kEos);
  });
  v1::GenerateResponse response;
  const grpc::Status status =
      stub_->Generate(&context_, Request("a").request(), &response);
  engine.join();

  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.text(), "one two");
  EXPECT_EQ(response.finish().reason(), v1::FINISH_REASON_EOS);
}

TEST_F(GenerationServiceTest, TellsTheEngineOfACancelAndEndsWithIt) {
  Serve();
  const auto reader = stub_->GenerateStream(&context_, Request("a"));
  const GenerateJob job = engine_.NextGeneration();
  context_.TryCancel();

  ASSERT_TRUE(Eventually([&] { return job.stream->cancelled(); }));
  EXPECT_FALSE(service_.WaitNoCalls(Clock::now() + milliseconds(50)))
      << "the call lives until the engine lets go of it";
  Push(job, "late");
  Close(job, FinishReason::kCancelled);
  EXPECT_TRUE(service_.WaitNoCalls(Clock::now() + kPatience));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_THAT(metrics_.Render(),
              HasSubstr("code=\"CANCELLED\",rpc=\"generate_stream\"} 1"));
}

TEST_F(GenerationServiceTest, HandsTheDeadlineToTheEngine) {
  Serve();
  context_.set_deadline(std::chrono::system_clock::now() + seconds(300));
  const auto reader = stub_->GenerateStream(&context_, Request("a"));
  const GenerateJob job = engine_.NextGeneration();

  ASSERT_TRUE(job.header.deadline.has_value());
  const auto left = *job.header.deadline - Clock::now();
  EXPECT_LT(left, seconds(301));
  EXPECT_GT(left, seconds(300) - kPatience);
  Close(job, FinishReason::kDeadline);
  v1::GenerateStreamResponse message;
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_EQ(message.finish().reason(), v1::FINISH_REASON_DEADLINE);
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(GenerationServiceTest, HasNoDeadlineWithoutTheClients) {
  Serve();
  const auto reader = stub_->GenerateStream(&context_, Request("a"));
  const GenerateJob job = engine_.NextGeneration();

  EXPECT_FALSE(job.header.deadline.has_value());
  Close(job, FinishReason::kLength);
}

TEST_F(GenerationServiceTest, PassesARefusalOnWithRetryInfo) {
  Serve();
  engine_.Refuse(absl::ResourceExhaustedError("queue full"));
  const auto reader = stub_->GenerateStream(&context_, Request("a"));

  v1::GenerateStreamResponse message;
  EXPECT_FALSE(reader->Read(&message));
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  google::rpc::Status details;
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  ASSERT_TRUE(details.details(0).UnpackTo(&retry));
  EXPECT_GT(retry.retry_delay().seconds(), 0);
}

TEST_F(GenerationServiceTest, EndsAStreamAsTheEngineSays) {
  Serve();
  const auto reader = stub_->GenerateStream(&context_, Request("a"));
  const GenerateJob job = engine_.NextGeneration();
  Push(job, "some");
  Close(job, FinishReason::kError, absl::UnavailableError("device lost"));

  v1::GenerateStreamResponse message;
  while (reader->Read(&message)) EXPECT_FALSE(message.has_finish());
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "device lost");
}

TEST_F(GenerationServiceTest, UsesTheClientsRequestId) {
  Serve();
  context_.AddMetadata("x-request-id", "id-1");
  context_.AddMetadata("traceparent", "00-trace");
  const auto reader = stub_->GenerateStream(&context_, Request("a"));
  const GenerateJob job = engine_.NextGeneration();
  Close(job, FinishReason::kLength);
  reader->WaitForInitialMetadata();

  EXPECT_EQ(job.header.id, "id-1");
  const auto& metadata = context_.GetServerInitialMetadata();
  ASSERT_EQ(metadata.count("x-request-id"), 1u);
  EXPECT_EQ(metadata.find("x-request-id")->second, "id-1");
}

TEST_F(GenerationServiceTest, FallsBackToTraceparentAndThenToARandomId) {
  Serve();
  context_.AddMetadata("x-request-id", std::string(200, 'x'));
  context_.AddMetadata("traceparent", "00-trace");
  const auto traced = stub_->GenerateStream(&context_, Request("a"));
  const GenerateJob first = engine_.NextGeneration();
  EXPECT_EQ(first.header.id, "00-trace");
  Close(first, FinishReason::kLength);

  grpc::ClientContext bare;
  const auto random = stub_->GenerateStream(&bare, Request("a"));
  const GenerateJob second = engine_.NextGeneration();
  EXPECT_EQ(second.header.id.size(), 32u);
  Close(second, FinishReason::kLength);
}

TEST_F(GenerationServiceTest, TokenisesALongPromptOnAWorker) {
  Serve();
  const std::string prompt(100000, 'p');
  const auto reader = stub_->GenerateStream(&context_, Request(prompt));
  const GenerateJob job = engine_.NextGeneration();

  EXPECT_EQ(job.prompt.size(), prompt.size() + 1);
  Close(job, FinishReason::kLength);
}

TEST_F(GenerationServiceTest, ReportsTheEnginesLoad) {
  Serve();
  v1::GetLoadResponse load;
  ASSERT_TRUE(stub_->GetLoad(&context_, {}, &load).ok());

  EXPECT_EQ(load.running(), 1);
  EXPECT_EQ(load.waiting(), 2);
  EXPECT_EQ(load.queued_tokens(), 3);
  EXPECT_EQ(load.state_slots_total(), 4);
  EXPECT_EQ(load.state_slots_free(), 3);
}

TEST_F(GenerationServiceTest, CutsWhatASlowReaderMissedIntoSmallMessages) {
  Serve();
  v1::GenerateStreamRequest request = Request("a");
  request.mutable_request()->mutable_sampling()->set_logprobs(0);
  const auto reader = stub_->GenerateStream(&context_, request);
  const GenerateJob job = engine_.NextGeneration();
  // One push: as if all of it had come while the client read nothing.
  const std::string text = "start" + std::string(5000, 'x') + "end";
  Push(job, text);
  Close(job, FinishReason::kLength);

  std::string got;
  int tokens = 0;
  bool finished = false;
  v1::GenerateStreamResponse message;
  while (reader->Read(&message)) {
    EXPECT_FALSE(finished) << "the finish is in the last message";
    EXPECT_LE(message.tokens().ids_size(), 1024);
    EXPECT_EQ(message.logprobs_size(), message.tokens().ids_size());
    for (const int id : message.tokens().ids()) {
      EXPECT_EQ(id, text[static_cast<size_t>(tokens++)]);
    }
    got += message.text();
    finished = message.has_finish();
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_TRUE(finished);
  EXPECT_EQ(got, text);
  EXPECT_EQ(tokens, static_cast<int>(text.size()));
}

}  // namespace
}  // namespace chela
