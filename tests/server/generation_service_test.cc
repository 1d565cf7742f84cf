#include "server/rpc/generation_service.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "chela/v1/generation.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "server/engine/score_stream.h"
#include "server/engine/token_stream.h"
#include "server/rpc/grpc_server.h"
#include "tests/support/tiny_model.h"

namespace chela {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

constexpr seconds kPatience{20};

template <typename Condition>
bool Eventually(Condition condition) {
  const auto until = Clock::now() + kPatience;
  while (!condition()) {
    if (Clock::now() > until) return false;
    std::this_thread::sleep_for(milliseconds(2));
  }
  return true;
}

// Takes jobs and does nothing with them: the test is the engine.
class FakeEngine : public Engine {
 public:
  absl::Status Submit(GenerateJob job) override {
    std::lock_guard lock(mutex_);
    if (refusal_.ok()) generations_.push_back(std::move(job));
    changed_.notify_all();
    return refusal_;
  }
  absl::Status Submit(ScoreJob job) override {
    std::lock_guard lock(mutex_);
    if (refusal_.ok()) scores_.push_back(std::move(job));
    changed_.notify_all();
    return refusal_;
  }
  EngineLoad Load() const override {
    return {.running = 1,
            .waiting = 2,
            .queued_tokens = 3,
            .slots_total = 4,
            .slots_free = 3,
            .slot_bytes = 5};
  }
  void Drain() override {}
  bool WaitIdle(Clock::time_point) override { return true; }
  void Stop() override {}

  void Refuse(const absl::Status& status) {
    std::lock_guard lock(mutex_);
    refusal_ = status;
  }
  GenerateJob NextGeneration() { return Next(generations_); }
  ScoreJob NextScore() { return Next(scores_); }

 private:
  template <typename Job>
  Job Next(std::deque<Job>& jobs) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(
        changed_.wait_for(lock, kPatience, [&] { return !jobs.empty(); }));
    Job job = std::move(jobs.front());
    jobs.pop_front();
    return job;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  absl::Status refusal_;
  std::deque<GenerateJob> generations_;
  std::deque<ScoreJob> scores_;
};

void Push(const GenerateJob& job, const std::string& text) {
  GenerationDelta delta;
  delta.text = text;
  for (const char c : text) {
    SampledToken token;
    token.token = c;
    delta.tokens.push_back(token);
  }
  job.stream->Push(std::move(delta));
}

void Close(const GenerateJob& job, FinishReason reason,
           const absl::Status& status = absl::OkStatus()) {
  GenerationEnd end;
  end.reason = reason;
  end.status = status;
  job.stream->Close(std::move(end));
}

class GenerationServiceTest : public ::testing::Test {
 protected:
  GenerationServiceTest()
      : tokenizer_(
            *Tokenizer::Load(model_.directory(), test_support::TinyConfig())),
        service_({.workers = 1, .log_content = false}, metrics_) {
    served_.engine = &engine_;
    served_.convert.tokenizer = tokenizer_.get();
    served_.info.set_model("fake");
    server_ = *GrpcServer::Start({.listen = {"127.0.0.1", 0}}, service_);
    stub_ = v1::GenerationService::NewStub(grpc::CreateChannel(
        server_->address().ToString(), grpc::InsecureChannelCredentials()));
  }
  void Serve() { service_.Serve(served_); }

  static v1::GenerateStreamRequest Request(const std::string& prompt) {
    v1::GenerateStreamRequest request;
    request.mutable_request()->set_prompt(prompt);
    return request;
  }

  test_support::TinyModel model_;
  std::unique_ptr<Tokenizer> tokenizer_;
  Metrics metrics_{"fake"};
  FakeEngine engine_;
  ServedModel served_;
  GenerationService service_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<v1::GenerationService::Stub> stub_;
  grpc::ClientContext context_;
};

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

TEST_F(GenerationServiceTest, ReadsNoFurtherWhileTheBacklogIsHigh) {
  Serve();
  v1::ScoreStreamResponse response;
  const auto writer = stub_->ScoreStream(&context_, &response);
  v1::ScoreStreamRequest piece;
  piece.set_text(std::string(30000, 'x'));
  constexpr int kPieces = 20;
  std::thread client([&] {
    for (int i = 0; i < kPieces; ++i) writer->Write(piece);
    writer->WritesDone();
  });
  const ScoreJob job = engine_.NextScore();
  ASSERT_TRUE(Eventually([&] { return job.stream->backlog() >= 30000; }));
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_LE(job.stream->backlog(), 30001) << "one piece and BOS";

  ScoreStream::End end;
  ASSERT_TRUE(Eventually([&] {
    end.totals.tokens += static_cast<int64_t>(job.stream->Take(9000).size());
    return job.stream->finished();
  }));
  end.totals.scored_tokens = end.totals.tokens - 1;
  end.totals.log_probability = -2;
  job.stream->Close(std::move(end));
  client.join();

  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_EQ(response.bytes(), kPieces * 30000);
  EXPECT_EQ(response.tokens(), kPieces * 30000) << "BOS is not counted";
  EXPECT_EQ(response.log_probability(), -2);
}

TEST_F(GenerationServiceTest, ScoresAnEmptyTextWithoutTheEngine) {
  Serve();
  v1::ScoreStreamResponse response;
  const auto writer = stub_->ScoreStream(&context_, &response);
  writer->WritesDone();

  EXPECT_TRUE(writer->Finish().ok());
  EXPECT_EQ(response.tokens(), 0);
  EXPECT_EQ(response.log_probability(), 0);
}

TEST_F(GenerationServiceTest, EndsAScoreStreamWhoseClientLeft) {
  Serve();
  v1::ScoreStreamResponse response;
  const auto writer = stub_->ScoreStream(&context_, &response);
  context_.TryCancel();

  EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(service_.WaitNoCalls(Clock::now() + kPatience));
}

TEST_F(GenerationServiceTest, AnswersAScoreCall) {
  Serve();
  std::thread engine([this] {
    const ScoreJob job = engine_.NextScore();
    ScoreStream::End end;
    end.continuations = {{-1.0f}, {-2.0f, -3.0f}};
    job.stream->Close(std::move(end));
  });
  v1::ScoreRequest request;
  request.set_prefix("p");
  request.add_continuations()->set_text("a");
  request.add_continuations()->set_text("bc");
  v1::ScoreResponse response;
  const grpc::Status status = stub_->Score(&context_, request, &response);
  engine.join();

  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.scores(1).log_probability(), -5);
}

TEST_F(GenerationServiceTest, TokenisesAndBack) {
  Serve();
  v1::TokenizeRequest request;
  request.set_text("ab");
  request.set_add_bos(false);
  v1::TokenizeResponse tokens;
  ASSERT_TRUE(stub_->Tokenize(&context_, request, &tokens).ok());
  EXPECT_THAT(tokens.tokens().ids(), ::testing::ElementsAre('a', 'b'));
  EXPECT_EQ(tokens.pieces_size(), 2);

  v1::DetokenizeRequest back;
  for (const int id : {0x61, 0xff}) back.mutable_tokens()->add_ids(id);
  v1::DetokenizeResponse text;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->Detokenize(&context, back, &text).ok());
  EXPECT_EQ(text.text(), "a\xef\xbf\xbd") << "U+FFFD for a broken byte";
  EXPECT_EQ(text.bytes(), "a\xff");
}

}  // namespace
}  // namespace chela
