#include <gmock/gmock.h>

#include "tests/server/service_rig.h"

namespace chela {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

using ScoreServiceTest = ServiceTest;

TEST_F(ScoreServiceTest, ReadsNoFurtherWhileTheBacklogIsHigh) {
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

TEST_F(ScoreServiceTest, ScoresAnEmptyTextWithoutTheEngine) {
  Serve();
  v1::ScoreStreamResponse response;
  const auto writer = stub_->ScoreStream(&context_, &response);
  writer->WritesDone();

  EXPECT_TRUE(writer->Finish().ok());
  EXPECT_EQ(response.tokens(), 0);
  EXPECT_EQ(response.log_probability(), 0);
}

TEST_F(ScoreServiceTest, EndsAScoreStreamWhoseClientLeft) {
  Serve();
  v1::ScoreStreamResponse response;
  const auto writer = stub_->ScoreStream(&context_, &response);
  context_.TryCancel();

  EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(service_.WaitNoCalls(Clock::now() + kPatience));
}

TEST_F(ScoreServiceTest, AnswersAScoreCall) {
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

TEST_F(ScoreServiceTest, TokenisesAndBack) {
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

// A message as it travels.
grpc::ByteBuffer Bytes(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return {&slice, 1};
}

TEST_F(ScoreServiceTest, RefusesAPieceThatCannotBeDecodedAndCutsNothingOff) {
  Serve();
  // ScoreStream for a client that sends what it likes.
  const grpc::internal::RpcMethod method(
      "/chela.v1.GenerationService/ScoreStream",
      grpc::internal::RpcMethod::CLIENT_STREAMING, channel_);
  grpc::ByteBuffer answer;
  const std::unique_ptr<grpc::ClientWriter<grpc::ByteBuffer>> writer(
      grpc::internal::ClientWriterFactory<grpc::ByteBuffer>::Create(
          channel_.get(), method, &context_, &answer));
  v1::ScoreStreamRequest piece;
  piece.set_text("hello ");
  ASSERT_TRUE(writer->Write(Bytes(piece.SerializeAsString())));
  const ScoreJob job = engine_.NextScore();
  writer->Write(Bytes("\xff\xff\xff"));

  const grpc::Status status = writer->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("cannot be decoded"));
  EXPECT_TRUE(Eventually([&] { return job.stream->cancelled(); }));
  ScoreStream::End end;
  end.status = absl::CancelledError("cancelled");
  job.stream->Close(std::move(end));
}

}  // namespace
}  // namespace chela
